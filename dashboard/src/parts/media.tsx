/** Bytes of a job shown by what they are: image, sound, video, JSON, text; anything else, and anything large, is a download. */

import type { JSX } from "preact";
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { asProblem, send, aborted, type ApiProblem } from "../api/client.ts";
import { bytes } from "../format.ts";
import { Cut, JsonView, TREE } from "./json.tsx";

const SHOWN = 32 * 1024 * 1024;

interface Props {
  name: string;
  address: string;
  /** Where it is known; otherwise the gateway is asked. */
  type?: string;
  size?: number;
  /** What the model says it is. */
  kind?: string;
  /** A download stands below it already. */
  offered?: boolean;
}

export function Download({ name, address, size }: Props): JSX.Element {
  return (
    <a class="button" href={address} download={name}>
      Download{size === undefined ? "" : ` ${bytes(size)}`}
    </a>
  );
}

export function Media(props: Props): JSX.Element {
  const broken = useSignal(false);
  const probed = useProbe(props);
  if (probed.problem) return <p class="notice">{probed.problem.message}</p>;
  const type = probed.type;
  if (type === null) return <div class="media empty" aria-busy="true" />;
  const known = { ...props, size: probed.size ?? props.size };
  if (broken.value || (known.size ?? 0) > SHOWN) return <Unshown {...known} />;
  const failed = (): void => void (broken.value = true);
  if (type.startsWith("image/")) return <img class="media image" src={props.address} alt={props.name} onError={failed} />;
  if (type.startsWith("audio/")) return <audio class="media" src={props.address} controls onError={failed} aria-label={props.name} />;
  if (type.startsWith("video/")) return <video class="media" src={props.address} controls onError={failed} aria-label={props.name} />;
  if (/json|^text\//.test(type)) return <Text {...known} json={type.includes("json")} />;
  return <Unshown {...known} />;
}

function Unshown(props: Props): JSX.Element {
  return <div class="media empty">{props.offered ? "Not shown here." : <Download {...props} />}</div>;
}

interface Probed {
  type: string | null;
  size?: number;
  problem?: ApiProblem;
}

const CLEAR = /^(image|audio|video|text)\/|json/;

/** What the bytes are, by the headers alone: the body is left unread. */
function useProbe({ address, type, size, kind }: Props): Probed {
  const hint = kind === "image" || kind === "audio" ? `${kind}/*` : kind === "json" ? "application/json" : kind === "text" ? "text/plain" : undefined;
  const said = type && CLEAR.test(type) ? type : hint;
  const found = useSignal<Probed>({ type: said ?? null, size });
  useEffect(() => {
    if (said) return undefined;
    const abort = new AbortController();
    void (async () => {
      try {
        const response = await send(address, { signal: abort.signal });
        const length = Number(response.headers.get("Content-Length"));
        found.value = { type: response.headers.get("Content-Type") ?? "", size: length || undefined };
        await response.body?.cancel();
      } catch (error) {
        if (!aborted(error)) found.value = { type: null, problem: asProblem(error) };
      }
    })();
    return () => abort.abort();
  }, [address]);
  return found.value;
}

/** At most 256 KB are ever read for showing. */
async function readStart(address: string, signal: AbortSignal): Promise<{ text: string; whole: boolean }> {
  const response = await send(address, { signal });
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let size = 0; size <= TREE; ) {
    const { done, value } = await reader.read();
    if (done) return { text: text + decoder.decode(), whole: true };
    size += value.byteLength;
    text += decoder.decode(value, { stream: true });
  }
  await reader.cancel();
  return { text, whole: false };
}

function Text({ json, ...props }: Props & { json: boolean }): JSX.Element {
  const read = useSignal<{ text: string; whole: boolean } | null>(null);
  const problem = useSignal<ApiProblem | null>(null);
  useEffect(() => {
    const abort = new AbortController();
    readStart(props.address, abort.signal).then(
      (found) => (read.value = found),
      (error: unknown) => aborted(error) || (problem.value = asProblem(error)),
    );
    return () => abort.abort();
  }, [props.address]);
  if (problem.value) return <p class="notice">{problem.value.message}</p>;
  if (!read.value) return <div class="media empty" aria-busy="true" />;
  return (
    <div class="media text">
      <Read {...read.value} json={json} name={props.name} />
      {!props.offered && <Download {...props} />}
    </div>
  );
}

function Read({ text, whole, json, name }: { text: string; whole: boolean; json: boolean; name: string }): JSX.Element {
  if (json && whole) {
    try {
      return <JsonView value={JSON.parse(text) as unknown} label={name} />;
    } catch {
      // said to be JSON and is none: shown as it is
    }
  }
  return <Cut text={text} label={name} note={whole && text.length <= 4096 ? "" : "the first 4 KB"} />;
}

/** A file of this machine, before it is sent: drawn on a canvas, so that no address of it has to be allowed. */
export function LocalFile({ file }: { file: Blob }): JSX.Element {
  const drawn = useSignal<"no" | "yes" | "not an image">("no");
  const name = file instanceof File ? file.name : "file";
  const draw = async (canvas: HTMLCanvasElement | null): Promise<void> => {
    if (!canvas || drawn.peek() === "yes") return;
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min(1, 1600 / Math.max(image.width, image.height));
      canvas.width = Math.max(1, Math.round(image.width * scale));
      canvas.height = Math.max(1, Math.round(image.height * scale));
      canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
      image.close();
      drawn.value = "yes";
    } catch {
      drawn.value = "not an image";
    }
  };
  if (drawn.value === "not an image") {
    return (
      <div class="media empty">
        <span dir="auto">{name}</span> {bytes(file.size)}
      </div>
    );
  }
  return <canvas class="media image" ref={(canvas) => void draw(canvas)} role="img" aria-label={`input ${name}`} />;
}
