import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // the gateway may stand behind a path of somebody's proxy
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    license: true, // .vite/license.md: what is bundled, and under which terms
    assetsInlineLimit: 0, // the page's policy allows no data: addresses
    modulePreload: { polyfill: false },
  },
});
