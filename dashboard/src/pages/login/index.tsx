/** Login by key. The key goes to the gateway once and is kept nowhere. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { asProblem, type ApiProblem } from "../../api/client.ts";
import { login } from "../../session.ts";

export function Login(): JSX.Element {
  const key = useSignal("");
  const problem = useSignal<ApiProblem | null>(null);
  const busy = useSignal(false);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    busy.value = true;
    try {
      await login(key.value.trim());
    } catch (error) {
      problem.value = asProblem(error);
    }
    busy.value = false;
  };
  return (
    <main class="login" id="content">
      <form onSubmit={(event) => void submit(event)}>
        <h1>Leveret</h1>
        <label>
          API key
          <input
            type="password"
            autoComplete="off"
            spellcheck={false}
            autofocus
            required
            value={key.value}
            onInput={(event) => (key.value = event.currentTarget.value)}
            aria-describedby="key-help"
            aria-invalid={problem.value !== null}
          />
        </label>
        {problem.value && (
          <p class="notice bad" role="alert">
            {problem.value.status === 401 ? "This key is unknown, was revoked or has expired." : `${problem.value.message} (${problem.value.code})`}
          </p>
        )}
        <button type="submit" class="primary" disabled={busy.value || !key.value}>
          Log in
        </button>
        <p id="key-help" class="muted">
          <code>make up</code> prints the key of this machine's own stack at its end, and keeps it in <code>env</code> of the stack's folder,{" "}
          <code>.leveret</code> unless another one was named. Elsewhere an operator makes one with <code>python -m gateway.keys create</code>.
        </p>
      </form>
    </main>
  );
}
