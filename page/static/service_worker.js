// Service worker: everything of the page from a cache, so that it works offline after a visit.
//
// BUILD and FILES are replaced when the page is built. Sounds are kept when they are first fetched.

const BUILD = "__BUILD__";
const FILES = /** @type {string[]} */ (/** @type {unknown} */ ("__FILES__"));

const worker = /** @type {any} */ (self);

worker.addEventListener("install", (/** @type {any} */ event) => {
  // force-cache: what the page has just fetched is not fetched again.
  const keep = async () => {
    const cache = await caches.open(BUILD);
    await cache.addAll(FILES.map((file) => new Request(file, { cache: "force-cache" })));
    await worker.skipWaiting();
  };
  event.waitUntil(keep());
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  const clean = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name !== BUILD).map((name) => caches.delete(name)));
    await worker.clients.claim();
  };
  event.waitUntil(clean());
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin) return;
  event.respondWith(answer(event.request, url));
});

/** @param {Request} request @param {URL} url */
async function answer(request, url) {
  const cache = await caches.open(BUILD);
  const known = await cache.match(request, { ignoreSearch: true });
  if (known) return known;
  const found = await fetch(request);
  if (found.ok && url.pathname.includes("/sounds/")) await cache.put(request, found.clone());
  return found;
}
