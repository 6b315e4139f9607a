/** Settings: who may do what? */

import type { JSX } from "preact";
import { useSignal } from "@preact/signals";
import { listAudit } from "../../api/jobs.ts";
import { createKey, listKeys, readSettings, revokeKey } from "../../api/operations.ts";
import type { ApiKey, AuditEntry, Role, Settings } from "../../api/types.ts";
import { absolute, bytes, count, duration, NONE } from "../../format.ts";
import { Ago, Blank, Clipped, CopyButton, Loaded, Tabs } from "../../parts/basics.tsx";
import { confirm } from "../../parts/confirm.tsx";
import { useResource } from "../../parts/resource.ts";
import { Table, type Column } from "../../parts/table.tsx";
import { act } from "../../parts/toasts.tsx";
import { href, route, setQuery } from "../../router.ts";
import { operates, session } from "../../session.ts";

export function SettingsPage(): JSX.Element {
  const tabs = [...(operates() ? [{ name: "keys", text: "Keys" }, { name: "audit", text: "Audit" }] : []), { name: "limits", text: "Limits and retention" }, ...(operates() ? [{ name: "all", text: "All settings" }] : [])];
  const current = route.value.query.get("tab") ?? tabs[0]!.name;
  return (
    <>
      <div class="title">
        <h1>Settings</h1>
        <p class="muted" dir="auto">
          {session.value!.tenant}/{session.value!.name}, {session.value!.role}
        </p>
      </div>
      <Tabs label="Settings" tabs={tabs} current={current} choose={(tab) => setQuery({ tab, cursor: null })} />
      {current === "keys" && operates() && <Keys />}
      {current === "audit" && operates() && <Audit />}
      {(current === "limits" || current === "all") && <Read all={current === "all"} />}
    </>
  );
}

function Keys(): JSX.Element {
  const keys = useResource(listKeys, []);
  const secret = useSignal<string | null>(null);
  const reload = (): void => void keys.reload();
  return (
    <>
      <NewKey made={(text) => ((secret.value = text), reload())} />
      {secret.value && (
        <div class="notice warn" role="status">
          <p>This is the key. It is shown now and never again.</p>
          <p class="secret">
            <code>{secret.value}</code> <CopyButton text={secret.value} what="key" /> <button type="button" onClick={() => (secret.value = null)}>I have it</button>
          </p>
        </div>
      )}
      <Loaded of={keys}>{(rows) => (rows.length ? <Table label="Keys" columns={columns(reload)} rows={rows} name={(key) => key.id} past={(key) => key.revoked_at !== null} /> : <Blank title="No keys yet" />)}</Loaded>
    </>
  );
}

function columns(reload: () => void): Column<ApiKey>[] {
  return [
    { name: "name", label: "Name", first: true, cell: (key) => <Clipped text={`${key.tenant}/${key.name}${key.mine ? " (you)" : ""}`} /> },
    { name: "prefix", label: "Begins", cell: (key) => <code>{key.prefix}…</code> },
    { name: "role", label: "Role", first: true, cell: (key) => key.role },
    { name: "created", label: "Made", right: true, cell: (key) => <Ago at={key.created_at} /> },
    { name: "used", label: "Last used", right: true, cell: (key) => <Ago at={key.last_used_at} /> },
    { name: "expires", label: "Expires", right: true, cell: (key) => (key.expires_at ? <Ago at={key.expires_at} /> : "never") },
    { name: "act", label: "", right: true, first: true, wide: true, cell: (key) => <Revoke of={key} done={reload} /> },
  ];
}

function Revoke({ of, done }: { of: ApiKey; done: () => void }): JSX.Element {
  if (of.revoked_at) return <span class="muted">revoked <Ago at={of.revoked_at} /></span>;
  const revoke = async (): Promise<void> => {
    const lines = [`Whoever uses ${of.prefix}… (${of.tenant}/${of.name}) is refused from then on, within 10 s. It cannot be taken back.`];
    if (of.mine) lines.push("It is the key that you are logged in with.");
    if (await confirm({ title: `Revoke the key ${of.name}?`, lines, action: "Revoke 1 key", danger: true, word: of.name })) {
      await act("The key is revoked", () => revokeKey(of.id));
      done();
    }
  };
  return (
    <button type="button" onClick={() => void revoke()} aria-label={`Revoke ${of.name}`}>
      Revoke
    </button>
  );
}

function NewKey({ made }: { made: (secret: string) => void }): JSX.Element {
  const name = useSignal("");
  const role = useSignal<Role>("user");
  const days = useSignal("");
  const create = (): void => {
    const expiry = days.value ? { expires_in_s: Number(days.value) * 86400 } : {};
    void act("The key is made", async () => {
      made((await createKey({ name: name.value.trim(), role: role.value, ...expiry })).secret);
      name.value = "";
    });
  };
  return (
    <form
      class="actions"
      data-actions
      onSubmit={(event) => {
        event.preventDefault();
        create();
      }}
    >
      <label class="inline">
        Name <input required maxLength={100} value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
      </label>
      <label class="inline">
        Role{" "}
        <select value={role.value} onChange={(event) => (role.value = event.currentTarget.value as Role)}>
          <option value="user">user: jobs</option>
          <option value="operator">operator: everything</option>
        </select>
      </label>
      <label class="inline">
        Days <input type="number" min={1} max={3650} placeholder="no end" value={days.value} onInput={(event) => (days.value = event.currentTarget.value)} />
      </label>
      <button type="submit" disabled={!name.value.trim()}>
        Make a key
      </button>
    </form>
  );
}

const AUDIT: Column<AuditEntry>[] = [
  { name: "at", label: "When", first: true, cell: (entry) => <time dateTime={entry.at}>{absolute(entry.at)}</time> },
  { name: "by", label: "Who", first: true, cell: (entry) => <Clipped text={entry.by} /> },
  { name: "action", label: "What", first: true, cell: (entry) => entry.action },
  { name: "target", label: "On", cell: (entry) => (entry.action.startsWith("job.") && entry.target ? <a class="id" href={href(["jobs", entry.target])}>{entry.target}</a> : <Clipped text={entry.target ?? NONE} />) },
  { name: "count", label: "Jobs", right: true, cell: (entry) => count(entry.count) },
  { name: "detail", label: "Detail", wide: true, cell: (entry) => <Clipped text={entry.detail && Object.keys(entry.detail).length ? JSON.stringify(entry.detail) : ""} class="muted" /> },
];

function Audit(): JSX.Element {
  const cursor = route.value.query.get("cursor");
  const page = useResource((abort) => listAudit({ cursor, limit: 50 }, abort), [cursor]);
  return (
    <Loaded of={page}>
      {({ entries, next_cursor }) =>
        entries.length ? (
          <>
            <Table label="Audit" columns={AUDIT} rows={entries} name={(entry) => String(entry.id)} />
            <nav class="pages" aria-label="Pages of the audit">
              {cursor && <button type="button" onClick={() => setQuery({ cursor: null })}>Newest</button>}
              {next_cursor && <button type="button" onClick={() => setQuery({ cursor: next_cursor })}>Older</button>}
            </nav>
          </>
        ) : (
          <Blank title="Nothing was done yet" />
        )
      }
    </Loaded>
  );
}

function Read({ all }: { all: boolean }): JSX.Element {
  const settings = useResource(readSettings, []);
  return <Loaded of={settings}>{(said) => (all ? <Everything of={said} /> : <Bounds of={said} />)}</Loaded>;
}

function unit(name: string, value: number | null, none: string): string {
  if (value === null) return none;
  if (name.endsWith("_bytes")) return bytes(value);
  return name.endsWith("_s") ? duration(value) : count(value);
}

function Bounds({ of }: { of: Settings }): JSX.Element {
  const list = (title: string, values: Record<string, number | null>, none: string): JSX.Element => (
    <section aria-label={title}>
      <h2>{title}</h2>
      <dl class="facts">
        {Object.entries(values).map(([name, value]) => (
          <div key={name}>
            <dt class="long">{name.replace(/_(s|bytes)$/, "").replaceAll("_", " ")}</dt>
            <dd>{unit(name, value, none)}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
  return (
    <>
      {list("Limits", of.limits, NONE)}
      {list("Retention", of.retention, "kept for ever")}
    </>
  );
}

function Everything({ of }: { of: Settings }): JSX.Element {
  const columns: Column<Settings["settings"][number]>[] = [
    { name: "name", label: "Variable", first: true, cell: (row) => <code>{row.name}</code> },
    { name: "value", label: "Value", wide: true, cell: (row) => (row.secret ? <span class="muted">secret</span> : <Clipped text={typeof row.value === "string" ? row.value : JSON.stringify(row.value)} />) },
    { name: "default", label: "", cell: (row) => (row.default ? <span class="muted">default</span> : "set") },
  ];
  return <Table label="Settings" columns={columns} rows={of.settings} name={(row) => row.name} />;
}
