// Package group ends programs together with what they have started.
package group

import "os/exec"

// Lead makes a program that is to be started lead a process group of its own, so that what it
// starts can be ended with it, and makes the end of its context SIGTERM to all of them.
func Lead(cmd *exec.Cmd) { lead(cmd) }

// End kills what a program that was started, and waited for, has left behind.
func End(cmd *exec.Cmd) { end(cmd) }
