// Tests of the dashboard in Debian's Chromium, against nodes that each test starts. `.ci/dashboard` runs them.

import { defineConfig } from "@playwright/test";

export default defineConfig({
  testMatch: "*.spec.js",
  outputDir: "../../target/dashboard/failures",
  preserveOutput: "failures-only",
  forbidOnly: true,
  fullyParallel: false,
  workers: 2,
  timeout: 60_000,
  reporter: [["list"]],
  expect: { timeout: 10_000 },
  use: {
    browserName: "chromium",
    viewport: { width: 1280, height: 900 },
    colorScheme: "light",
    locale: "en",
    timezoneId: "UTC",
    screenshot: "only-on-failure",
    launchOptions: { executablePath: "/usr/bin/chromium", args: ["--disable-quic", "--disable-component-update"] },
  },
});
