// Written from a contract of juggler: change that and write it anew.

/** What the server offers, for `new Client<App>(…)`. */
export interface App {
  calls: {
    '': () => '\'' | '\\' | '\u000a' | 1 | -2.5 | true;
    '\'];//': () => (string | Ta_b3)[];
    /**
     * *​/ alert(1) /*
     *
     * @throws 7: *​/ seven
     * @deprecated *​/ no
     */
    '__proto__': (args: string2) => Ta_b2;
    'constructor': (args: App2 | null) => AsyncGenerator<AsyncGenerator2, {
      in: ({
        in: ({
          in: ({
            in: ({
              in: ({
                in: ({
                  in: ({
                    in: ({
                      in: ({
                        in: ({
                          in: ({
                            in: ({
                              in: ({
                                in: ({
                                  in: ({
                                    in: ({
                                      in: ({
                                        in: ({
                                          in: ({
                                            in: string[] | null;
                                          })[] | null;
                                        })[] | null;
                                      })[] | null;
                                    })[] | null;
                                  })[] | null;
                                })[] | null;
                              })[] | null;
                            })[] | null;
                          })[] | null;
                        })[] | null;
                      })[] | null;
                    })[] | null;
                  })[] | null;
                })[] | null;
              })[] | null;
            })[] | null;
          })[] | null;
        })[] | null;
      })[] | null;
    }>;
  };
  channels: {
    '`$(': unknown;
    'a.`$b\\': null;
    [channel: `${string}`]: unknown;
    [channel: `${string}.${string}`]: null | boolean;
  };
}

export type T = unknown;

export type App2 = App2[];

export type App22 = { [key: string]: App22 };

export type Array2 = [];

export type AsyncGenerator2 = (string | null)[] | { [key: string]: unknown } | string;

export type Ta_b = Array2;

export type Ta_b2 = ({
  self: Ta_b2 | null;
} & { [key: string]: unknown });

export type Ta_b3 = number[];

export interface string2 {
  ''?: string;
  '\'\\'?: string;
  /** *​/ */
  '*/'?: string;
  '7'?: string;
  __proto__?: string;
  class?: string;
  constructor?: string;
}

export type 日本 = { [key: string]: unknown };
