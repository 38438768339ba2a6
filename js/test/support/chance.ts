/** In CI, whose machine others make slow, a test that failed by chance is no failure, but is named. */
export const retry = process.env['CI'] ? 2 : 0;

/** What a reporter is told of a test, as far as it matters here. */
interface TestCase {
  readonly module: { readonly relativeModuleId: string };
  readonly fullName: string;
  diagnostic(): { readonly flaky: boolean } | undefined;
}

/** A reporter that names the tests that failed by chance. */
export const naming = {
  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky) console.log(`FAILED BY CHANCE, a defect of this test: ${test.module.relativeModuleId}: ${test.fullName}`);
  },
};
