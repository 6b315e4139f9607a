/** Which page the address means. */

import type { ComponentType, JSX } from "preact";
import { useEffect } from "preact/hooks";
import { Blank, Failed, Skeleton } from "./parts/basics.tsx";
import { BulkPanel } from "./parts/bulk.tsx";
import { Confirmation } from "./parts/confirm.tsx";
import { Shell } from "./parts/shell.tsx";
import { Toasts } from "./parts/toasts.tsx";
import { Failures } from "./pages/failures/index.tsx";
import { JobPage } from "./pages/job/index.tsx";
import { Jobs } from "./pages/jobs/index.tsx";
import { Login } from "./pages/login/index.tsx";
import { Models } from "./pages/models/index.tsx";
import { Overview } from "./pages/overview/index.tsx";
import { Queues } from "./pages/queues/index.tsx";
import { ScalerPage } from "./pages/scaler/index.tsx";
import { SettingsPage } from "./pages/settings/index.tsx";
import { Workers } from "./pages/workers/index.tsx";
import { href, route } from "./router.ts";
import { operates, resume, session, unreachable } from "./session.ts";

export interface PageProps {
  /** What follows the page's name in the address. */
  rest: string[];
}

interface Page {
  title: string;
  component: ComponentType<PageProps>;
  operator?: boolean;
}

const PAGES: Record<string, Page> = {
  "": { title: "Overview", component: Overview },
  jobs: { title: "Jobs", component: JobsOrJob },
  failures: { title: "Failures", component: Failures },
  queues: { title: "Queues", component: Queues, operator: true },
  workers: { title: "Workers", component: Workers, operator: true },
  scaler: { title: "Scaler", component: ScalerPage, operator: true },
  models: { title: "Models", component: Models },
  settings: { title: "Settings", component: SettingsPage },
};

function JobsOrJob({ rest }: PageProps): JSX.Element {
  return rest[0] ? <JobPage key={rest[0]} id={rest[0]} /> : <Jobs />;
}

export function App(): JSX.Element {
  useEffect(() => void resume(), []);
  const body = session.value === undefined ? <Beginning /> : session.value === null ? <Login /> : <Inside />;
  return (
    <>
      {body}
      <Confirmation />
      <Toasts />
    </>
  );
}

function Beginning(): JSX.Element {
  const problem = unreachable.value;
  return <main class="login">{problem ? <Failed problem={problem} retry={() => void resume()} /> : <Skeleton rows={4} />}</main>;
}

function Inside(): JSX.Element {
  const [name = "", ...rest] = route.value.path;
  const page = PAGES[name];
  useEffect(() => {
    document.title = page ? `${[...rest].reverse().concat(page.title).join(" · ")} — Leveret` : "Leveret";
  }, [name, rest.join("/")]);
  return (
    <Shell>
      <Content page={page} rest={rest} />
      <BulkPanel />
    </Shell>
  );
}

function Content({ page, rest }: { page: Page | undefined; rest: string[] }): JSX.Element {
  if (!page) {
    return (
      <Blank title="There is no such page">
        <a href={href([])}>To the overview</a>
      </Blank>
    );
  }
  if (page.operator && !operates()) return <Blank title="For operators">This page needs a key of the role operator.</Blank>;
  return <page.component rest={rest} />;
}
