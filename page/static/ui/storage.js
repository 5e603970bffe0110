// The piece in the storage of the browser, so that it is there again after a reload.

/** @import { WrittenBar } from "../engine/types.d.ts" */
/** @import { Step } from "../music/piece.js" */

const DATABASE = "musiclstm";
const STORE = "pieces";
const KEY = "last";
const VERSION = 1; // of the content

/**
 * @typedef {object} Stored
 * @property {string} weights fingerprint of the model
 * @property {Uint8Array<ArrayBuffer>} file the prompt
 * @property {string} name of the prompt
 * @property {string} source name of the prompt in recipes
 * @property {WrittenBar[]} bars
 * @property {Step[]} steps
 * @property {boolean} isEdited
 */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answerOf(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @template T @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest<T>} action @returns {Promise<T>} */
async function withStore(mode, action) {
  const opening = indexedDB.open(DATABASE, VERSION);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await answerOf(opening);
  try {
    return await answerOf(action(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

/** Keep a piece; without storage, for example in a private window, nothing happens. @param {Stored} piece */
export async function keepPiece(piece) {
  await withStore("readwrite", (store) => store.put(piece, KEY)).catch(() => {});
}

/** @returns {Promise<Stored | null>} */
export async function keptPiece() {
  return withStore("readonly", (store) => store.get(KEY)).then((found) => found ?? null, () => null);
}

export async function forgetPiece() {
  await withStore("readwrite", (store) => store.delete(KEY)).catch(() => {});
}
