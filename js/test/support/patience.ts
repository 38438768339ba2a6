/** For how many ms a test waits for what must happen: a machine that is busy with other work stands still for long. */
export const patience = 180_000;
