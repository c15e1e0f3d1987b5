/** Settings of a `Triopoll`. */
export interface TriopollOptions {
  /** Address of triopoll. Default: where the module was loaded from, else the page's origin. */
  url?: string;
  /** The ticket, or a function that gets one. It is called again after a 401. */
  ticket?: string | (() => string | undefined | Promise<string | undefined>);
  /** Where cursors are kept per key, such as `sessionStorage`. Default: nowhere. */
  storage?: Pick<Storage, "getItem" | "setItem">;
  /** Default: "auto", long polls, and a websocket where polls are cut. */
  transport?: "auto" | "poll" | "websocket";
  /** Whether the tabs of one ticket subject share a request. Default: true. */
  share?: boolean;
  /** Seconds that a request waits, up to 55. Default: 25. */
  wait?: number;
  /** Seconds after which a websocket is given up for a poll. Default: 600. */
  websocket?: number;
  /** As in `fetch`. Default: "same-origin". */
  credentials?: RequestCredentials;
  /** Whether a hidden page stops waiting until it is visible. Default: false. */
  pauseHidden?: boolean;
}

/** A message of a key. */
export interface Message {
  key: string;
  /** The same for every reader; also the cursor after the message. */
  id: string;
  /** What was published. Absent if that was not text: then there is `data_base64`. */
  data?: any;
  data_base64?: string;
  /** When it was stored, in Unix seconds. */
  ts: number;
}

/** Messages are gone that this client has not received. */
export interface Gap {
  key: string;
  /** How many; null if that is not known. */
  lost: number | null;
  /** The cursor after the gap, and after the messages that came with its report. */
  cursor: string;
}

/** What a state wait answers. */
export interface State {
  state: string;
  data: any;
  version: number;
  final: boolean;
  /** Seconds until the state expires. */
  expires_in: number;
  /** The three numbers to show, with number matching. */
  numbers?: [number, number, number];
}

export interface SubscribeOptions {
  /** A cursor, "new" or "all". Default: the stored cursor, else "new". */
  cursor?: string;
}

export interface MessagesOptions extends SubscribeOptions {
  signal?: AbortSignal;
  /** Called in order with the messages. */
  gap?: (gap: Gap) => void;
}

export interface StateOptions {
  /** Only states of a higher version are returned. Default: 0. */
  version?: number;
  signal?: AbortSignal;
}

export interface EventOptions {
  default_type?: "clear" | "set";
  /** Seconds. Default: no limit. */
  timeout?: number;
  signal?: AbortSignal;
}

/** "retrying" with the error of the last attempt, or "connected" again. */
export type ConnectionState = "connected" | "retrying";

export interface Handlers {
  /** One call at a time: the next message waits for the promise that it returns. */
  message?: (message: Message) => unknown;
  gap?: (gap: Gap) => void;
  /** The end of the subscription. Default: the error is reported as an uncaught one. */
  error?: (error: Error) => void;
  state?: (state: ConnectionState, error?: Error | Pick<TriopollError, "status" | "code" | "message">) => void;
}

/** A refusal of the server. */
export class TriopollError extends Error {
  constructor(status: number, code?: string, message?: string);
  /** HTTP status, or `err_code` of the poll API. */
  readonly status: number;
  /** The code of `/v1`, or the message of the poll API. Absent if a proxy answered. */
  readonly code?: string;
}

export interface TriopollEventMap {
  /** Messages of a key are gone. */
  gap: CustomEvent<Gap>;
  state: CustomEvent<{ state: ConnectionState; error?: Error }>;
}

/** A connection to triopoll. */
export class Triopoll extends EventTarget {
  constructor(options?: TriopollOptions);

  /**
   * Iterate over the messages of one key or several.
   *
   * @throws TriopollError when the server refuses the subscription
   */
  messages(keys: string | string[], options?: MessagesOptions): AsyncGenerator<Message, never, void>;

  /** Call back for each message of one key or several; the function that is returned stops it. */
  subscribe(keys: string | string[], handlers: Handlers, options?: SubscribeOptions): () => void;

  /** Iterate over the states of a key, up to the final one. */
  state(key: string, pollSecret: string, options?: StateOptions): AsyncGenerator<State, void, void>;

  /** Acknowledge a final state: the server deletes its data. */
  ack(key: string, pollSecret: string, version: number, options?: { signal?: AbortSignal }): Promise<void>;

  /** Wait until an event is set: true, or false if the timeout has passed. */
  event(key: string, options?: EventOptions): Promise<boolean>;

  /** Iterate over the messages of a list by the poll API, which pops them. */
  poll(key: string, options?: { signal?: AbortSignal }): AsyncGenerator<{ key: string; data: string }, never, void>;

  /** End all subscriptions and waits; they throw an `AbortError`. */
  close(): void;

  addEventListener<K extends keyof TriopollEventMap>(
    type: K,
    listener: (event: TriopollEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
