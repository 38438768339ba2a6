package resp

import "testing"

// Redis before 7 words the error of a command inside a script in its own way.
func TestIsElsewhere(t *testing.T) {
	for text, want := range map[string]bool{
		"MOVED 1 127.0.0.1:1": true,
		"READONLY You can't write against a read only replica. script: 0a, on @user_script:1.":                         true,
		"ERR Error running script (call to f_0a): @user_script:8: @user_script: 8: -READONLY You can't write against…": true,
		"@user_script: 95: -READONLY You can't write against a read only replica.":                                     true,
		"@user_script: 95: -OOM command not allowed when used memory > 'maxmemory'.":                                   false,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                                            false,
	} {
		if got := IsMisdirected(Error(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
