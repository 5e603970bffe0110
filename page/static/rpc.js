// Calls to a Web Worker as promises, and messages from it.

/** @typedef {Record<string, (argument: any) => any>} Handlers */

/**
 * Answer calls in a worker. An error becomes a rejected promise with the same message.
 * @param {any} scope `self` of the worker @param {Handlers} handlers
 */
export function serve(scope, handlers) {
  scope.onmessage = async (/** @type {MessageEvent} */ { data: { id, name, argument } }) => {
    try {
      const result = await handlers[name](argument);
      scope.postMessage({ id, result }, transferable(result));
    } catch (error) {
      scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
    }
  };
}

/** Return the buffers of sample columns, which are moved instead of copied. @param {any} result */
function transferable(result) {
  return Array.isArray(result) ? result.filter((each) => each instanceof Float32Array).map(({ buffer }) => buffer) : [];
}

/** A worker, called by name. */
export class Remote {
  /** @param {Worker} worker @param {(message: any) => void} onMessage messages that answer no call */
  constructor(worker, onMessage = () => {}) {
    this.worker = worker;
    this.calls = 0;
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.open = new Map();
    worker.onmessage = ({ data }) => {
      const call = this.open.get(data.id);
      if (!call) return onMessage(data);
      this.open.delete(data.id);
      if (data.error === undefined) call.resolve(data.result);
      else call.reject(new Error(data.error));
    };
    worker.onerror = (event) => {
      event.preventDefault();
      const error = new Error(event.message || "A part of the page could not be loaded. Reload the page.");
      for (const { reject } of this.open.values()) reject(error);
      this.open.clear();
    };
  }

  /** @param {string} name @param {any} argument @returns {Promise<any>} */
  call(name, argument = null) {
    const id = ++this.calls;
    return new Promise((resolve, reject) => {
      this.open.set(id, { resolve, reject });
      this.worker.postMessage({ id, name, argument });
    });
  }
}
