/**
 * The secret of the link, S: taken out of the address bar before anything else runs.
 *
 * Rules: this module imports nothing, so that it runs as soon as it has arrived. S is kept in this module alone,
 * never in storage, history or the page; it is handed out once. A link whose fragment became part of the path
 * ("%23") reached servers on its way: its secret is not used (docs/formats/gateway-http.md).
 */

/** S as it stood in the link, without "#"; "" when there was none or when it was handed out before. */
let held = "";

/** Says whether the secret was sent to a server as part of the path. */
export let secretLeaked = false;

take();

function take() {
  held = location.hash.slice(1);
  secretLeaked = /%23/i.test(location.pathname);
  history.replaceState(null, "", "/");
}

/** Hands out S once. */
export function takeSecret() {
  const secret = held;
  held = "";
  return secret;
}

/** Calls `begin` when another link is opened in this tab: the browser loads nothing then, only the fragment changes. */
export function onNextLink(begin) {
  addEventListener("hashchange", () => {
    take();
    begin();
  });
}
