package redissim

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"
)

// A run is a script that runs.
type run struct {
	server  *Server
	keys    []string
	written bool
}

// programs are compiled scripts by hash, of all worlds.
var programs sync.Map

func compile(sha, source string) (*lua.FunctionProto, error) {
	if p, known := programs.Load(sha); known {
		return p.(*lua.FunctionProto), nil
	}
	chunk, err := parse.Parse(strings.NewReader(source), "user_script")
	if err != nil {
		return nil, err
	}
	p, err := lua.Compile(chunk, "user_script")
	if err == nil {
		programs.Store(sha, p)
	}
	return p, err
}

func (w *World) newState() *lua.LState {
	l := lua.NewState(lua.Options{RegistrySize: 1024, RegistryMaxSize: 1 << 20, SkipOpenLibs: true})
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString, lua.OpenMath} {
		l.Push(l.NewFunction(open))
		l.Call(0, 0)
	}
	l.SetGlobal("redis", l.SetFuncs(l.NewTable(), map[string]lua.LGFunction{
		"call":  func(l *lua.LState) int { return w.callback(l, true) },
		"pcall": func(l *lua.LState) int { return w.callback(l, false) },
		"error_reply": func(l *lua.LState) int {
			l.Push(errorTable(l, l.CheckString(1)))
			return 1
		},
		"status_reply": func(l *lua.LState) int {
			t := l.NewTable()
			t.RawSetString("ok", lua.LString(l.CheckString(1)))
			l.Push(t)
			return 1
		},
		"sha1hex": func(l *lua.LState) int {
			l.Push(lua.LString(hash(l.CheckString(1))))
			return 1
		},
	}))
	return l
}

func hash(source string) string {
	sum := sha1.Sum([]byte(source))
	return hex.EncodeToString(sum[:])
}

func errorTable(l *lua.LState, text string) *lua.LTable {
	t := l.NewTable()
	t.RawSetString("err", lua.LString(text))
	return t
}

// eval is EVAL and EVALSHA.
func eval(c *call) any {
	s := c.server
	sha, source := strings.ToLower(c.args[0]), ""
	if c.name == "EVAL" {
		source = c.args[0]
		sha = hash(source)
		s.scripts[sha] = source
	} else if source = s.scripts[sha]; source == "" {
		return fault("NOSCRIPT No matching script. Please use EVAL.")
	}
	program, err := compile(sha, source)
	if err != nil {
		return fault("ERR Error compiling script: " + err.Error())
	}
	keys := scriptKeys(c.args)
	w, l := s.world, s.world.lua
	l.SetGlobal("KEYS", listTable(l, keys))
	l.SetGlobal("ARGV", listTable(l, c.args[2+len(keys):]))
	w.running = &run{server: s, keys: keys}
	defer func() { w.running = nil }()
	l.Push(l.NewFunctionFromProto(program))
	if err := l.PCall(0, 1, nil); err != nil {
		return scriptFault(sha, err)
	}
	value := l.Get(-1)
	l.Pop(1)
	return fromLua(value)
}

func scriptFault(sha string, err error) fault {
	text := err.Error()
	if api, isAPI := err.(*lua.ApiError); isAPI {
		if t, isTable := api.Object.(*lua.LTable); isTable {
			return fault(fmt.Sprintf("%s script: %s, on @user_script:1.", t.RawGetString("err"), sha))
		}
		text = api.Object.String()
	}
	return fault(fmt.Sprintf("ERR %s script: %s, on @user_script:1.", text, sha))
}

// callback is redis.call and redis.pcall.
func (w *World) callback(l *lua.LState, raise bool) int {
	args := make([]string, l.GetTop())
	for i := range args {
		switch v := l.Get(i + 1).(type) {
		case lua.LString:
			args[i] = string(v)
		case lua.LNumber:
			args[i] = numberText(float64(v))
		default:
			l.Error(errorTable(l, "ERR Lua redis lib command arguments must be strings or integers"), 1)
			return 0
		}
	}
	value := w.running.do(strings.ToUpper(args[0]), args[1:])
	if err, failed := value.(fault); failed && raise {
		l.Error(errorTable(l, string(err)), 1)
		return 0
	}
	l.Push(toLua(l, value))
	return 1
}

// numberText is how Redis writes a number of Lua.
func numberText(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e17 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', 17, 64)
}

// do runs a command of the script.
func (r *run) do(name string, args []string) any {
	c, known := commands[name]
	switch {
	case !known:
		r.server.world.strange[name] = true
		return unknownCommand(name)
	case len(args) < c.least:
		return fault("ERR Wrong number of args calling Redis command from script")
	case c.flags&subscribe != 0 || name == "EVAL" || name == "EVALSHA":
		return fault("ERR This Redis command is not allowed from script")
	}
	if c.keys != nil && name != "SPUBLISH" { // a channel is no key
		for _, key := range c.keys(args) {
			if !slices.Contains(r.keys, key) && !strings.Contains(key, ":keyed:") { // which take.lua finds out itself
				r.server.world.strange["a key that a script did not declare, with "+name] = true
			}
		}
	}
	if err := r.server.refuses(c, name, true, r.written); err != nil {
		return err
	}
	r.written = r.written || c.flags&writes != 0
	return c.do(&call{server: r.server, name: name, args: args})
}

func listTable(l *lua.LState, list []string) *lua.LTable {
	t := l.CreateTable(len(list), 0)
	for _, s := range list {
		t.Append(lua.LString(s))
	}
	return t
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case nil, nilArray:
		return lua.LFalse
	case int:
		return lua.LNumber(v)
	case string:
		return lua.LString(v)
	case fault:
		return errorTable(l, string(v))
	case status:
		t := l.NewTable()
		t.RawSetString("ok", lua.LString(v))
		return t
	case []any:
		t := l.CreateTable(len(v), 0)
		for _, e := range v {
			t.Append(toLua(l, e))
		}
		return t
	}
	panic(fmt.Sprintf("redissim: a %T for a script", value))
}

func fromLua(value lua.LValue) any {
	switch v := value.(type) {
	case lua.LNumber:
		return int(v)
	case lua.LString:
		return string(v)
	case lua.LBool:
		if v {
			return 1
		}
		return nil
	case *lua.LTable:
		if text, isText := v.RawGetString("err").(lua.LString); isText {
			return fault(text)
		}
		if text, isText := v.RawGetString("ok").(lua.LString); isText {
			return status(text)
		}
		list := []any{}
		for i := 1; ; i++ {
			e := v.RawGetInt(i)
			if e == lua.LNil {
				return list
			}
			list = append(list, fromLua(e))
		}
	}
	return nil
}
