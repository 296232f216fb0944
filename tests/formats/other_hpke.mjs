// HPKE by another implementation (@hpke/core, @hpke/hybridkem-x-wing): `seal PUBLIC INFO PLAINTEXT`, `open SEED INFO SEALED`, all in
// hexadecimal digits. The packages are the browser tests'.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const from = createRequire(new URL("../browser/package.json", import.meta.url));
const { CipherSuite, HkdfSha256, Aes256Gcm } = await import(pathToFileURL(from.resolve("@hpke/core")));
const { XWing } = await import(pathToFileURL(from.resolve("@hpke/hybridkem-x-wing")));

const ENCAPSULATED_BYTES = 1120;
const bytes = (digits) => Uint8Array.from(Buffer.from(digits, "hex"));
const [verb, ...rest] = process.argv.slice(2);
const [key, info, data] = rest.map(bytes);
const suite = new CipherSuite({ kem: new XWing(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const none = new Uint8Array();
if (verb === "seal") {
  const recipientPublicKey = await suite.kem.deserializePublicKey(key);
  const sender = await suite.createSenderContext({ recipientPublicKey, info });
  const sealed = await sender.seal(data, none);
  console.log(Buffer.from(sender.enc).toString("hex") + Buffer.from(sealed).toString("hex"));
} else {
  const recipientKey = await suite.kem.deserializePrivateKey(key);
  const enc = data.slice(0, ENCAPSULATED_BYTES);
  const recipient = await suite.createRecipientContext({ recipientKey, enc, info });
  console.log(Buffer.from(await recipient.open(data.slice(ENCAPSULATED_BYTES), none)).toString("hex"));
}
