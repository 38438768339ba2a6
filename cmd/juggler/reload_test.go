package main

import "testing"

// A reload finds no setting of the command line changed, lists included.
func TestRepeatedSettings(t *testing.T) {
	for _, args := range [][]string{
		{"callee", "--exec", "a=cat", "--exec", "b=tr a,b c", "--http", "c=http://127.0.0.1/?x=1,2", "--concurrency", "3"},
		{"serve", "--listen", ":1,:2", "--listen", "unix:/s", "--origins", "https://a", "--max-queue-bytes", "2MiB", "--keep-calls"},
	} {
		before, now := newRoot(), newRoot()
		cmd, rest, err := before.Find(args)
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Fatal(err)
		}
		fresh, _, _ := now.Find(args[:1])
		repeat(cmd.Flags(), fresh.Flags())
		if names := changedFlags(cmd.Flags(), fresh.Flags()); len(names) != 0 {
			t.Errorf("%v: changed are %v", args, names)
		}
		if !fresh.Flags().Changed(rest[0][2:]) {
			t.Errorf("%v: files and variables may change what the command line set", args)
		}
	}
}
