// Refreshes the list of sweeps every few seconds while it is visible.
import { refresh } from "./live.js";

setInterval(() => { if (!document.hidden) refresh(); }, 3000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
