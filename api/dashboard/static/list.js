// The list of sweeps asks again every few seconds while someone looks at it.
import { refresh } from "./live.js";

setInterval(() => { if (!document.hidden) refresh(); }, 3000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
