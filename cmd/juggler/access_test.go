package main_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/juggler-go/juggler/internal/freeport"
)

const secret = "0123456789abcdef0123456789abcdef"

// token returns a token signed with the secret, that expires in an hour unless
// claims say otherwise.
func token(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	if _, ok := claims["exp"]; !ok {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestTokens(t *testing.T) {
	hmac := filepath.Join(t.TempDir(), "secret")
	writeFile(t, hmac, secret+"\n")
	_, url := startServe(t, "--token-hmac-file", hmac, "--token-issuer", "us", "--token-audience", "app")
	good := jwt.MapClaims{"sub": "ann", "iss": "us", "aud": []string{"app", "other"}}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, good).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, token string
		code        int
		want        string
	}{
		{"good", token(t, good), 0, ""},
		{"expired", token(t, jwt.MapClaims{"sub": "ann", "iss": "us", "aud": "app", "exp": 1000}), 4, "token is expired"},
		{"issuer", token(t, jwt.MapClaims{"sub": "ann", "iss": "them", "aud": "app"}), 4, "invalid issuer"},
		{"audience", token(t, jwt.MapClaims{"sub": "ann", "iss": "us", "aud": "x"}), 4, "invalid audience"},
		{"no user", token(t, jwt.MapClaims{"iss": "us", "aud": "app"}), 4, "it has no sub"},
		{"signature", token(t, good) + "x", 4, "token"},
		{"no signature", none, 4, "token"},
		{"nonsense", "nonsense", 4, "token is malformed"},
	} {
		got := run(t, "", "client", "--token", tt.token, url, "pub", "news", "1")
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s by AUTH: %+v, want %d and %q", tt.name, got, tt.code, tt.want)
		}
		got = run(t, "", "client", "--protocol", "juggler.0", "--bearer", "--token", tt.token, url, "pub", "news", "1")
		if got.code != tt.code || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s as Bearer with juggler.0: %+v, want %d and %q", tt.name, got, tt.code, tt.want)
		}
	}
	if got := run(t, "", "client", "--protocol", "juggler.0", url, "pub", "news", "1"); got.code != 4 {
		t.Errorf("without a token: %+v", got)
	}
}

func TestTokenInTheQuery(t *testing.T) {
	hmac := filepath.Join(t.TempDir(), "secret")
	writeFile(t, hmac, secret)
	_, url := startServe(t, "--token-hmac-file", hmac, "--token-query", "access", "--sign-in-timeout", "0s")
	good, bad := token(t, jwt.MapClaims{"sub": "ann"}), token(t, jwt.MapClaims{"sub": "ann", "exp": 1000})
	for _, tt := range []struct {
		query string
		code  int
	}{
		{"?access=" + good, 0},
		{"?other=1&access=" + good, 0},
		{"?access=" + bad, 4},
		{"?token=" + good, 4},
		{"", 4},
	} {
		for _, protocol := range protocols {
			if got := run(t, "", "client", "--protocol", protocol, url+tt.query, "pub", "news", "1"); got.code != tt.code {
				t.Errorf("%s with %s: %+v, want %d", protocol, tt.query, got, tt.code)
			}
		}
	}
}

func TestKeySets(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{{
		"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
		"x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	writeFile(t, file, string(set))
	var down atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Write(set)
	}))
	defer web.Close()

	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	unsigned.Header["kid"] = "k1"
	good, err := unsigned.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{file, web.URL} {
		down.Store(false)
		p, url := startServe(t, "--token-jwks", place)
		if got := run(t, "", "client", "--token", good, url, "pub", "news"); got.code != 0 {
			t.Errorf("%s: %+v", place, got)
		}
		if got := run(t, "", "client", "--token", token(t, jwt.MapClaims{"sub": "ann"}), url, "pub", "news"); got.code != 4 {
			t.Errorf("%s: a token signed with a secret: %+v", place, got)
		}
		// At a SIGHUP there are no keys: the old ones stay.
		down.Store(true)
		writeFile(t, file, `{"keys":[]}`)
		p.signal(syscall.SIGHUP)
		p.stderr.await(t, "not reloaded, it stays as it was")
		if got := run(t, "", "client", "--token", good, url, "pub", "news"); got.code != 0 {
			t.Errorf("%s, after a reload that failed: %+v", place, got)
		}
		p.stop()
		if strings.Contains(p.stderr.String(), `"msg":"reloaded"`) {
			t.Errorf("%s: it says that it has reloaded:\n%s", place, p.stderr)
		}
	}
}

// A server that could not fetch keys yet is not ready, and says to clients that they may
// come again.
func TestKeySetOutOfReach(t *testing.T) {
	keys := "http://user:hush@" + freeport.Address(t) + "/"
	p, url := startServe(t, "--token-jwks", keys, "--admin-listen", "127.0.0.1:0")
	var line struct{ Level string }
	if err := json.Unmarshal([]byte(p.stderr.await(t, strings.Replace(keys, "hush", "xxxxx", 1))), &line); err != nil || line.Level != "ERROR" {
		t.Errorf("%+v, %v", line, err)
	}
	if got := run(t, "", "health", adminURL(t, p)); got.code != 1 || !strings.Contains(got.stderr, "503 Service Unavailable: the keys of tokens: ") {
		t.Errorf("health: %+v", got)
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ann", "exp": time.Now().Add(time.Hour).Unix()})
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	good, err := unsigned.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodGet, strings.Replace(url, "ws", "http", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		"Sec-Websocket-Protocol": {"juggler.1"}, "Authorization": {"Bearer " + good},
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("a client with a token: %s, %v", response.Status, response.Header)
	}
	p.stop()
	if strings.Contains(p.stderr.String(), "hush") {
		t.Errorf("the password of the URL is logged:\n%s", p.stderr)
	}
}

// --check connects to nothing.
func TestCheckFetchesNoKeys(t *testing.T) {
	var fetched atomic.Bool
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fetched.Store(true) }))
	defer web.Close()
	got := run(t, "", "serve", "--check", "--token-jwks", web.URL)
	if got.code != 0 || got.stderr != "" || fetched.Load() {
		t.Errorf("%+v, the keys were fetched: %v", got, fetched.Load())
	}
}

func TestRules(t *testing.T) {
	dir := t.TempDir()
	hmac, rules := filepath.Join(dir, "secret"), filepath.Join(dir, "rules.yaml")
	writeFile(t, hmac, secret)
	writeFile(t, rules, `rules:
- subscribe: [public.*]
- who: [authenticated]
  subscribe: ["users.{user}.*"]
- who: [role=editor, user=root]
  publish: [public.*]
`)
	p, url := startServe(t, "--rules", rules, "--token-hmac-file", hmac, "--anonymous", "--token-attributes", "role")
	ann := token(t, jwt.MapClaims{"sub": "ann", "role": []string{"reader", "editor"}})
	bob := token(t, jwt.MapClaims{"sub": "bob", "role": "reader"})
	root := token(t, jwt.MapClaims{"sub": "root"})
	try := func(token, line string) int {
		t.Helper()
		args := []string{"client", url}
		if token != "" {
			args = append(args, "--token", token, "--bearer")
		}
		return run(t, line+"\n", args...).code
	}
	for _, tt := range []struct {
		who, token, line string
		code             int
	}{
		{"nobody", "", "sub public.a", 0},
		{"nobody", "", "psub public.*", 0},
		{"nobody", "", "psub *", 4},
		{"nobody", "", "pub public.a 1", 4},
		{"nobody", "", "sub users.ann.mail", 4},
		{"ann", ann, "sub users.ann.mail", 0},
		{"ann", ann, "psub users.*", 4},
		{"ann", ann, "pub public.a 1", 0},
		{"bob", bob, "pub public.a 1", 4},
		{"bob", bob, "sub users.ann.mail", 4},
		{"root", root, "pub public.a 1", 0},
		{"root", root, "call test.echo 1", 4},
	} {
		if got := try(tt.token, tt.line); got != tt.code {
			t.Errorf("%s: %s: code %d, want %d", tt.who, tt.line, got, tt.code)
		}
	}
	goes := start(t, "client", url, "--token", ann, "--bearer", "sub", "users.ann.mail")
	goes.stderr.await(t, "subscribed")
	stays := start(t, "client", url, "--token", ann, "--bearer", "--count", "1", "psub", "public.*")
	stays.stderr.await(t, "subscribed")
	writeFile(t, rules, "rules:\n- publish: ['*']\n  subscribe: [public.*]\n")
	p.signal(syscall.SIGHUP)
	if line := p.stderr.await(t, "ended subscriptions that the rules no longer allow"); !strings.Contains(line, `"subscriptions":1`) {
		t.Error(line)
	}
	if code := goes.wait(); code != 4 {
		t.Errorf("a subscription that is no longer allowed ends with %d", code)
	}
	p.stderr.await(t, `"msg":"reloaded"`)
	if got := try("", "pub public.a 1"); got != 0 {
		t.Errorf("after the reload: code %d", got)
	}
	if code := stays.wait(); code != 0 {
		t.Errorf("a subscription that is still allowed ends with %d", code)
	}
}

func TestAccessErrors(t *testing.T) {
	dir := t.TempDir()
	short, hmac, rules := filepath.Join(dir, "short"), filepath.Join(dir, "hmac"), filepath.Join(dir, "rules.yaml")
	writeFile(t, short, "secret\n")
	writeFile(t, hmac, secret)
	writeFile(t, rules, "rules:\n- who: [authenticated]\n  call: [a]\n- who: [role=editor, anonymous]\n  call: [b]\n- call: ['{user}']\n")
	for _, tt := range []struct{ args, want string }{
		{"--token-hmac-file " + short, "the secret has 6 bytes; want 32 at least"},
		{"--token-hmac-file /nowhere", "no such file"},
		{"--token-jwks " + short, "--token-jwks: "},
		{"--anonymous", "--anonymous goes with --token-hmac-file or --token-jwks only"},
		{"--user-header user", "--user-header goes with --token-hmac-file or --token-jwks only"},
		{"--rules /nowhere", "no such file"},
		{"--rules " + rules, "rule 1: who: authenticated is nobody without --token-hmac-file or --token-jwks"},
		{"--rules " + rules, "rule 3: {user} is nobody's without --token-hmac-file or --token-jwks"},
		{"--rules " + rules + " --token-hmac-file " + hmac, "rule 2: who: role=editor is nobody without --token-attributes role"},
		{"--rules " + rules + " --token-hmac-file " + hmac, "rule 2: who: anonymous is nobody without --anonymous"},
		{"--token-hmac-file " + hmac + " --attribute-headers role", `--attribute-headers "role": want a claim that --token-attributes lists`},
		{"--token-hmac-file " + hmac + " --token-attributes a --user-header U --attribute-headers a=u", `--attribute-headers "a=u": the header is that of something else, too`},
		{"--listen :8080", unguarded(":8080")},
		{"--listen 127.0.0.1:80,0.0.0.0:81", unguarded("0.0.0.0:81")},
		{"--listen [::]:80", unguarded("[::]:80")},
		{"--listen example.com:80", unguarded("example.com:80")},
		{"--listen :80 --token-hmac-file " + hmac, unguarded(":80")},
		{"--open --rules " + rules, "--rules and --open contradict each other: leave one out"},
	} {
		got := run(t, "", append([]string{"serve", "--check"}, strings.Fields(tt.args)...)...)
		if got.code != 2 || !strings.Contains(got.stderr, tt.want) {
			t.Errorf("%s: %+v, want %q", tt.args, got, tt.want)
		}
	}
}

// unguarded is what a server without rules says that others could connect to.
func unguarded(address string) string {
	return "--listen " + address + ": others could connect, and every client may call, publish and subscribe to everything: give --rules FILE, or --open if that is meant"
}

// A server without rules is for this machine, and says at its start what that means, unless
// it is told that this is meant.
func TestOpen(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	writeFile(t, rules, "rules:\n- publish: [x]\n")
	const warning = "every client may call, publish and subscribe to everything: give --rules, or --open if that is meant"
	for _, tt := range []struct {
		args  string
		warns bool
	}{
		{"--listen 127.0.0.1:0", true},
		{"--listen localhost:0", true},
		{"--listen unix:" + filepath.Join(t.TempDir(), "s"), true},
		{"--listen :0 --open", false},
		{"--listen 127.0.0.1:0 --open", false},
		{"--listen :0 --rules " + rules, false},
	} {
		p := start(t, append([]string{"serve"}, strings.Fields(tt.args)...)...)
		p.stderr.await(t, "serving")
		p.stop()
		if got := strings.Count(p.stderr.String(), warning); got > 1 || got == 1 != tt.warns || strings.Contains(p.stderr.String(), "WithAuthorizer") {
			t.Errorf("%s: warned %d times:\n%s", tt.args, got, p.stderr)
		}
	}
	if got := run(t, "", "serve", "--check"); got.code != 0 || got.stderr != "" {
		t.Errorf("--check: %+v", got)
	}
}
