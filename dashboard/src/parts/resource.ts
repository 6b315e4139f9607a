/** A snapshot from the API: what was read stays while it is read anew, and stays (with the problem beside it) when that fails. */

import { signal, type Signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { aborted, asProblem, type ApiProblem } from "../api/client.ts";
import { paused } from "../live/socket.ts";

export interface Resource<T> {
  data: Signal<T | null>;
  problem: Signal<ApiProblem | null>;
  /** Read anew; concurrent wishes become one more read. */
  reload(): Promise<void>;
}

class Reader<T> implements Resource<T> {
  readonly data = signal<T | null>(null);
  readonly problem = signal<ApiProblem | null>(null);
  private abort: AbortController | null = null;
  private again = false;
  private readonly read: (abort: AbortSignal) => Promise<T>;

  constructor(read: (abort: AbortSignal) => Promise<T>) {
    this.read = read;
  }

  async reload(): Promise<void> {
    if (this.abort) {
      this.again = true;
      return;
    }
    this.abort = new AbortController();
    try {
      this.data.value = await this.read(this.abort.signal);
      this.problem.value = null;
    } catch (error) {
      if (!aborted(error)) this.problem.value = asProblem(error);
    }
    this.abort = null;
    if (this.again) {
      this.again = false;
      await this.reload();
    }
  }

  stop(): void {
    this.again = false;
    this.abort?.abort();
  }
}

/** Read anew every so often while it is looked at: for what the live socket does not tell. Not while the page is paused. */
export function usePolled(resource: Resource<unknown>, everyMs: number): void {
  useEffect(() => {
    const read = (): void => void (document.hidden || paused.peek() || resource.reload());
    const timer = setInterval(read, everyMs);
    document.addEventListener("visibilitychange", read);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", read);
    };
  }, [resource, everyMs]);
}

/** What `read` gives, read when the component is shown and whenever one of `deps` changes. */
export function useResource<T>(read: (abort: AbortSignal) => Promise<T>, deps: readonly unknown[]): Resource<T> {
  const reader = useMemo(() => new Reader(read), deps);
  useEffect(() => {
    void reader.reload();
    return () => reader.stop();
  }, [reader]);
  return reader;
}
