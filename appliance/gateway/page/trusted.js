/**
 * The one Trusted Types policy of the page: it lets one constant script address pass and nothing else.
 *
 * The page makes no HTML from text; there is no policy that could (Content-Security-Policy: trusted-types).
 */

const ALLOWED = new Set(["/service-worker.js"]);

function allow(address) {
  if (!ALLOWED.has(address)) throw new TypeError("not a script of this page");
  return address;
}

const policy = globalThis.trustedTypes?.createPolicy("praxissafe", { createScriptURL: allow });

/** Gives the address in the form the browser asks for. */
export function trustedScriptUrl(address) {
  return policy ? policy.createScriptURL(address) : allow(address);
}
