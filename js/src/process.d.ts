// What development is told by, in the form that @types/node extends.
declare namespace NodeJS {
  interface ProcessEnv {
    /**
     * Bundlers put a string in place of `process.env.NODE_ENV`; elsewhere than in
     * Node nothing else has it. In `if (typeof process === 'object' &&
     * process.env.NODE_ENV !== 'production')` they leave out what is for
     * development only; in other forms they keep it.
     */
    NODE_ENV?: string | undefined;
  }
  interface Process {
    env: ProcessEnv;
  }
}
declare var process: NodeJS.Process;
