package access

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestRuleErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "r.yaml: the file is empty; want the key rules"},
		{"rules:\n- cal: [x]\n", `r.yaml:2: unknown key "cal"; did you mean "call"?`},
		{"roles: []\n", `r.yaml:1: unknown key "roles"; did you mean "rules"?`},
		{"rules:\n- call: [x]\n- call: [a*b]\n", `r.yaml: rule 2: call: "a*b": want a name, or the beginning of names followed by *`},
		{"rules:\n- who: [ann]\n  call: [x]\n", `r.yaml: rule 1: who: "ann": want everyone, anonymous, authenticated, user=NAME or ATTRIBUTE=VALUE`},
		{"rules:\n- call: ['']\n", `r.yaml: rule 1: call: a name is empty`},
		{"rules:\n- call: ['']\n- subscribe: ['u.{user}*']\n", "r.yaml: rule 1: call: a name is empty\nr.yaml: rule 2: subscribe: \"u.{user}*\": want something after {user}"},
		{"rules: 1\n", "r.yaml: unmarshal errors:\n  line 1: cannot unmarshal !!int `1` into"},
		{"rules:\n- who: []\n  call: [x]\n", "r.yaml:2: who is empty; want a list, or leave it out"},
		{"rules:\n- call: [x]\n  who:\n", "r.yaml:3: who is empty"},
		{"rules:\n- call: [x]\n  who: [~]\n", "r.yaml:3: who has an empty entry"},
		{"rules:\n- call: &none []\n- who: *none\n  call: [x]\n", "r.yaml:2: call is empty; want a list, or leave it out\nr.yaml:3: who is empty"},
		{"rules:\n- call: []\n", "r.yaml:2: call is empty"},
		{"rules:\n- who: [everyone]\n", "r.yaml:2: the rule allows nothing; want call, subscribe or publish"},
		{"rules:\n- call: [x]\n-\n", "r.yaml:1: rules has an empty entry"},
		{"rules:\n", "r.yaml:1: rules is empty"},
		{"rules: []\n", "r.yaml:1: rules is empty"},
		{"rules:\n- call: [x]\n---\nrules:\n- call: [y]\n", "r.yaml: want one document"},
		{"rules: [\n", "r.yaml: line 1: did not find expected node content"},
	} {
		_, err := parseRules("r.yaml", []byte(tt.text))
		if err == nil || len(err.Error()) < len(tt.want) || err.Error()[:len(tt.want)] != tt.want {
			t.Errorf("%q: %v, want %s", tt.text, err, tt.want)
		}
	}
}

// A claim is one word, whatever is in it, and a list has one in each entry. Only scope
// is split.
func TestWordsOfClaims(t *testing.T) {
	for _, tt := range []struct {
		name, claim, word string
		want              bool
	}{
		{"role", `"editor"`, "editor", true},
		{"role", `"team editor"`, "editor", false},
		{"role", `"team editor"`, "team editor", true},
		{"role", `["reader","editor"]`, "editor", true},
		{"role", `["team editor"]`, "editor", false},
		{"role", `["team editor"]`, "team editor", true},
		{"role", `[["editor"]]`, "editor", false},
		{"role", `"[\"editor\"]"`, "editor", false},
		{"role", `["a","b"]`, ",", false},
		{"role", `[1,true]`, "1", true},
		{"level", `3`, "3", true},
		{"level", `12345678901234567890`, "12345678901234567890", true},
		{"admin", `true`, "true", true},
		{"role", `{"editor":1}`, "editor", false},
		{"scope", `"read write"`, "write", true},
		{"scope", `"read write"`, "read write", true},
		{"scope", `["read write"]`, "write", false},
		{"scopes", `"read write"`, "write", false},
	} {
		var claim any
		d := json.NewDecoder(strings.NewReader(tt.claim))
		d.UseNumber() // as tokens are read
		if err := d.Decode(&claim); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(claimWords(tt.name, claim), tt.word); got != tt.want {
			t.Errorf("%s %s has %q: %v", tt.name, tt.claim, tt.word, got)
		}
	}
}
