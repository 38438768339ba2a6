package redissim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a command returns: an int, a string, nil, a list of these, or one of
// the following.
type (
	status   string   // "OK"
	fault    string   // an error, which begins with its code
	silence  struct{} // the reply comes later, or was written already
	nilArray struct{} // nil, where a list would have been
)

// A command of the fake.
type command struct {
	do    func(c *call) any
	least int // arguments
	keys  keysOf
	flags flags
}

// keysOf returns those of the arguments that are keys, or sharded channels.
type keysOf func(args []string) []string

type flags uint8

const (
	writes    flags = 1 << iota // refused by a replica, and while writes are refused
	grows                       // refused out of memory
	subscribe                   // allowed on a connection with subscriptions
	always                      // answered while the server loads
)

// A call is a command with its arguments, on its way through a server.
type call struct {
	server  *Server
	session *session // nil in a script
	name    string   // in capitals
	args    []string // without the name
}

func (c *call) now() time.Time           { return c.server.now() }
func (c *call) get(key string) *entry    { return c.server.store.get(key, c.now()) }
func (c *call) make(key string) *entry   { return c.server.store.make(key, c.now()) }
func (c *call) number(i int) (int, bool) { n, err := strconv.Atoi(c.args[i]); return n, err == nil }
func (c *call) drop(key string, e *entry) { // if nothing is left
	if e.empty() {
		delete(c.server.store, key)
	}
}

const notNumber = fault("ERR value is not an integer or out of range")

func first(args []string) []string { return args[:1] }
func all(args []string) []string   { return args }
func blocking(a []string) []string { return a[:len(a)-1] }

func scriptKeys(args []string) []string {
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 0 || n > len(args)-2 {
		return nil
	}
	return args[2 : 2+n]
}

var commands map[string]command

func init() { // not a literal: some of them look into it
	commands = map[string]command{
		"PING":     {do: ping, flags: subscribe},
		"AUTH":     {do: ok, least: 1, flags: always},
		"SELECT":   {do: ok, least: 1},
		"CLIENT":   {do: ok, least: 1, flags: always},
		"CONFIG":   {do: configuration, least: 2},
		"INFO":     {do: info},
		"ROLE":     {do: role},
		"TIME":     {do: clock},
		"CLUSTER":  {do: cluster, least: 1},
		"SENTINEL": {do: sentinel, least: 1},

		"EVAL":    {do: eval, least: 2, keys: scriptKeys},
		"EVALSHA": {do: eval, least: 2, keys: scriptKeys},

		"GET":     {do: get, least: 1, keys: first},
		"GETEX":   {do: get, least: 1, keys: first, flags: writes},
		"MGET":    {do: mget, least: 1, keys: all},
		"SET":     {do: set, least: 2, keys: first, flags: writes | grows},
		"DEL":     {do: del, least: 1, keys: all, flags: writes},
		"UNLINK":  {do: del, least: 1, keys: all, flags: writes},
		"EXISTS":  {do: exists, least: 1, keys: all},
		"PTTL":    {do: pttl, least: 1, keys: first},
		"PERSIST": {do: persist, least: 1, keys: first, flags: writes},
		"PEXPIRE": {do: pexpire, least: 2, keys: first, flags: writes},
		"EXPIRE":  {do: pexpire, least: 2, keys: first, flags: writes},
		"TYPE":    {do: typeOf, least: 1, keys: first},
		"STRLEN":  {do: strlen, least: 1, keys: first},
		"INCR":    {do: incr, least: 1, keys: first, flags: writes | grows},

		"LPUSH":  {do: push, least: 2, keys: first, flags: writes | grows},
		"RPUSH":  {do: push, least: 2, keys: first, flags: writes | grows},
		"LPOP":   {do: pop, least: 1, keys: first, flags: writes},
		"RPOP":   {do: pop, least: 1, keys: first, flags: writes},
		"LLEN":   {do: llen, least: 1, keys: first},
		"LINDEX": {do: lindex, least: 2, keys: first},
		"LRANGE": {do: lrange, least: 3, keys: first},
		"LTRIM":  {do: ltrim, least: 3, keys: first, flags: writes},
		"LREM":   {do: lrem, least: 3, keys: first, flags: writes},
		"LSET":   {do: lset, least: 3, keys: first, flags: writes | grows},
		"BRPOP":  {do: blockingPop, least: 2, keys: blocking, flags: writes},
		"BLPOP":  {do: blockingPop, least: 2, keys: blocking, flags: writes},

		"SADD":        {do: sadd, least: 2, keys: first, flags: writes | grows},
		"SREM":        {do: srem, least: 2, keys: first, flags: writes},
		"SISMEMBER":   {do: sismember, least: 2, keys: first},
		"SMISMEMBER":  {do: smismember, least: 2, keys: first},
		"SPOP":        {do: spop, least: 1, keys: first, flags: writes},
		"SCARD":       {do: scard, least: 1, keys: first},
		"SMEMBERS":    {do: smembers, least: 1, keys: first},
		"SRANDMEMBER": {do: srandmember, least: 1, keys: first},
		"SSCAN":       {do: sscan, least: 2, keys: first},

		"HSET":    {do: hset, least: 3, keys: first, flags: writes | grows},
		"HDEL":    {do: hdel, least: 2, keys: first, flags: writes},
		"HGET":    {do: hget, least: 2, keys: first},
		"HMGET":   {do: hmget, least: 2, keys: first},
		"HEXISTS": {do: hexists, least: 2, keys: first},
		"HSCAN":   {do: hscan, least: 2, keys: first},
		"HLEN":    {do: hlen, least: 1, keys: first},
		"HGETALL": {do: hgetall, least: 1, keys: first},

		"BZPOPMIN":         {do: blockingPop, least: 2, keys: blocking, flags: writes},
		"ZADD":             {do: zadd, least: 3, keys: first, flags: writes | grows},
		"ZREM":             {do: zrem, least: 2, keys: first, flags: writes},
		"ZSCORE":           {do: zscore, least: 2, keys: first},
		"ZCARD":            {do: zcard, least: 1, keys: first},
		"ZCOUNT":           {do: zcount, least: 3, keys: first},
		"ZRANGE":           {do: zrange, least: 3, keys: first},
		"ZRANGEBYSCORE":    {do: zrangeByScore, least: 3, keys: first},
		"ZREMRANGEBYSCORE": {do: zremRangeByScore, least: 3, keys: first, flags: writes},

		"PUBLISH":      {do: publish, least: 2},
		"SPUBLISH":     {do: publish, least: 2, keys: first},
		"SUBSCRIBE":    {do: subscribeTo, least: 1, flags: subscribe},
		"PSUBSCRIBE":   {do: subscribeTo, least: 1, flags: subscribe},
		"SSUBSCRIBE":   {do: subscribeTo, least: 1, keys: all, flags: subscribe},
		"UNSUBSCRIBE":  {do: unsubscribe, flags: subscribe},
		"PUNSUBSCRIBE": {do: unsubscribe, flags: subscribe},
		"SUNSUBSCRIBE": {do: unsubscribe, flags: subscribe},
	}
}

func ok(*call) any { return status("OK") }

func ping(c *call) any {
	text := ""
	if len(c.args) > 0 {
		text = c.args[0]
	}
	switch {
	case c.session != nil && c.session.subscribed():
		return []any{"pong", text}
	case text != "":
		return text
	}
	return status("PONG")
}

func configuration(c *call) any {
	if !strings.EqualFold(c.args[0], "GET") {
		return fault("ERR the fake has no CONFIG " + c.args[0])
	}
	values := []any{}
	for key, value := range c.server.settings() {
		if match, _ := path.Match(strings.ToLower(c.args[1]), key); match {
			values = append(values, key, value)
		}
	}
	return values
}

func clock(c *call) any {
	us := c.now().UnixMicro()
	return []any{strconv.FormatInt(us/1e6, 10), strconv.FormatInt(us%1e6, 10)}
}

func get(c *call) any {
	if e := c.get(c.args[0]); e != nil && e.text != nil {
		return *e.text
	}
	return nil
}

func mget(c *call) any {
	values := []any{}
	for _, key := range c.args {
		one := *c
		one.args = []string{key}
		values = append(values, get(&one))
	}
	return values
}

func set(c *call) any {
	key, value := c.args[0], c.args[1]
	old := get(c)
	present := c.get(key) != nil
	var reply any = status("OK")
	var expires time.Time
	for i := 2; i < len(c.args); i++ {
		switch strings.ToUpper(c.args[i]) {
		case "PX", "EX":
			n, isNumber := c.number(i + 1)
			if !isNumber || n <= 0 {
				return fault("ERR invalid expire time in 'set' command")
			}
			expires = c.now().Add(time.Duration(n) * unit(c.args[i]))
			i++
		case "KEEPTTL":
			if e := c.get(key); e != nil {
				expires = e.expires
			}
		case "NX":
			if present {
				return nil
			}
		case "XX":
			if !present {
				return nil
			}
		case "GET":
			reply = old
		default:
			return fault("ERR syntax error")
		}
	}
	c.server.store[key] = &entry{text: &value, expires: expires}
	return reply
}

// unit is that of PX, PEXPIRE or EX, EXPIRE.
func unit(name string) time.Duration {
	if name[0] == 'P' || name[0] == 'p' {
		return time.Millisecond
	}
	return time.Second
}

func del(c *call) any {
	n := exists(c)
	for _, key := range c.args {
		delete(c.server.store, key)
	}
	return n
}

func exists(c *call) any {
	n := 0
	for _, key := range c.args {
		if c.get(key) != nil {
			n++
		}
	}
	return n
}

func pttl(c *call) any {
	switch e := c.get(c.args[0]); {
	case e == nil:
		return -2
	case e.expires.IsZero():
		return -1
	default:
		return int(e.expires.Sub(c.now()).Milliseconds())
	}
}

func pexpire(c *call) any {
	n, isNumber := c.number(1)
	if !isNumber {
		return notNumber
	}
	e := c.get(c.args[0])
	if e == nil {
		return 0
	}
	e.expires = c.now().Add(time.Duration(n) * unit(c.name))
	return 1
}

func persist(c *call) any {
	e := c.get(c.args[0])
	if e == nil || e.expires.IsZero() {
		return 0
	}
	e.expires = time.Time{}
	return 1
}

func typeOf(c *call) any {
	switch e := c.get(c.args[0]); {
	case e == nil:
		return status("none")
	case e.text != nil:
		return status("string")
	case e.list != nil:
		return status("list")
	case e.set != nil:
		return status("set")
	}
	return status("zset")
}

func strlen(c *call) any {
	if e := c.get(c.args[0]); e != nil && e.text != nil {
		return len(*e.text)
	}
	return 0
}

func incr(c *call) any {
	e := c.make(c.args[0])
	n := 0
	if e.text != nil {
		n, _ = strconv.Atoi(*e.text)
	}
	text := strconv.Itoa(n + 1)
	e.text = &text
	return n + 1
}

// left reports whether a command of lists is about the head.
func (c *call) left() bool { return c.name[0] == 'L' || c.name[1] == 'L' }

func push(c *call) any {
	e := c.make(c.args[0])
	for _, value := range c.args[1:] {
		if c.left() {
			e.list = slices.Insert(e.list, 0, value)
		} else {
			e.list = append(e.list, value)
		}
	}
	return len(e.list)
}

// popFrom removes an element of a list that has one.
func (c *call) popFrom(key string, e *entry) (value string) {
	if n := len(e.list) - 1; c.left() {
		value, e.list = e.list[0], e.list[1:]
	} else {
		value, e.list = e.list[n], e.list[:n]
	}
	c.drop(key, e)
	return value
}

func pop(c *call) any {
	key := c.args[0]
	e := c.get(key)
	if len(c.args) == 1 {
		if e == nil {
			return nil
		}
		return c.popFrom(key, e)
	}
	count, isNumber := c.number(1)
	switch {
	case !isNumber || count < 0:
		return fault("ERR value is out of range, must be positive")
	case e == nil:
		return nilArray{}
	}
	values := []any{}
	for len(values) < count && len(e.list) > 0 {
		values = append(values, c.popFrom(key, e))
	}
	return values
}

// popLowest removes the first element of a sorted set that has one.
func (c *call) popLowest(key string, e *entry) []any {
	member := e.ranked()[0]
	lowest := score(e.zset[member])
	delete(e.zset, member)
	c.drop(key, e)
	return []any{key, member, lowest}
}

// list returns a list, nil if it is not there.
func (c *call) list() []string {
	if e := c.get(c.args[0]); e != nil {
		return e.list
	}
	return nil
}

func llen(c *call) any { return len(c.list()) }

func lindex(c *call) any {
	list := c.list()
	i, _ := c.number(1)
	if i < 0 {
		i += len(list)
	}
	if i < 0 || i >= len(list) {
		return nil
	}
	return list[i]
}

// span returns the part of a list of n that a first and last index mean.
func (c *call) span(n int) (from, to int) {
	from, _ = c.number(1)
	to, _ = c.number(2)
	if from < 0 {
		from = max(from+n, 0)
	}
	if to < 0 {
		to += n
	}
	to = min(to+1, n)
	return min(from, n), max(to, min(from, n))
}

func lrange(c *call) any {
	list := c.list()
	from, to := c.span(len(list))
	return texts(list[from:to])
}

func ltrim(c *call) any {
	if e := c.get(c.args[0]); e != nil {
		from, to := c.span(len(e.list))
		e.list = e.list[from:to]
		c.drop(c.args[0], e)
	}
	return status("OK")
}

func lrem(c *call) any {
	e := c.get(c.args[0])
	count, isNumber := c.number(1)
	if !isNumber {
		return notNumber
	}
	if e == nil {
		return 0
	}
	removed, limit := 0, max(count, -count)
	remove := func(s string) bool {
		if s != c.args[2] || limit > 0 && removed == limit {
			return false
		}
		removed++
		return true
	}
	if count < 0 {
		slices.Reverse(e.list)
	}
	e.list = slices.DeleteFunc(e.list, remove)
	if count < 0 {
		slices.Reverse(e.list)
	}
	c.drop(c.args[0], e)
	return removed
}

func lset(c *call) any {
	list := c.list()
	i, _ := c.number(1)
	if i < 0 {
		i += len(list)
	}
	if i < 0 || i >= len(list) {
		return fault("ERR index out of range")
	}
	list[i] = c.args[2]
	return status("OK")
}

func sadd(c *call) any {
	e := c.make(c.args[0])
	if e.set == nil {
		e.set = map[string]bool{}
	}
	before := len(e.set)
	for _, member := range c.args[1:] {
		e.set[member] = true
	}
	return len(e.set) - before
}

func srem(c *call) any {
	e := c.get(c.args[0])
	if e == nil {
		return 0
	}
	before := len(e.set)
	for _, member := range c.args[1:] {
		delete(e.set, member)
	}
	c.drop(c.args[0], e)
	return before - len(e.set)
}

func (c *call) members() []string {
	if e := c.get(c.args[0]); e != nil {
		return e.members()
	}
	return nil
}

func sismember(c *call) any {
	if slices.Contains(c.members(), c.args[1]) {
		return 1
	}
	return 0
}

func smismember(c *call) any {
	members := c.members()
	values := []any{}
	for _, member := range c.args[1:] {
		in := 0
		if slices.Contains(members, member) {
			in = 1
		}
		values = append(values, in)
	}
	return values
}

func spop(c *call) any {
	some := srandmember(c)
	var gone []string
	switch some := some.(type) {
	case string:
		gone = []string{some}
	case []any:
		for _, s := range some {
			gone = append(gone, s.(string))
		}
	}
	if e := c.get(c.args[0]); e != nil {
		for _, member := range gone {
			delete(e.set, member)
		}
		c.drop(c.args[0], e)
	}
	return some
}

func srandmember(c *call) any {
	members := c.members()
	c.server.world.rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	if len(c.args) > 1 {
		n, _ := c.number(1)
		return texts(members[:min(max(n, -n), len(members))])
	}
	if len(members) == 0 {
		return nil
	}
	return members[0]
}

func scard(c *call) any    { return len(c.members()) }
func smembers(c *call) any { return texts(c.members()) }

// sscan returns pages in order; the cursor is where the next one begins.
func sscan(c *call) any {
	members := c.members()
	from, count, isNumber := c.page()
	if !isNumber {
		return fault("ERR invalid cursor")
	}
	from = min(from, len(members))
	to, next := min(from+count, len(members)), 0
	if to < len(members) {
		next = to
	}
	return []any{strconv.Itoa(next), texts(members[from:to])}
}

// page returns the cursor of a scan, and how many are wanted.
func (c *call) page() (cursor, count int, isNumber bool) {
	count = 10
	for i := 2; i+1 < len(c.args); i++ {
		if strings.EqualFold(c.args[i], "COUNT") {
			count, _ = c.number(i + 1)
		}
	}
	cursor, isNumber = c.number(1)
	return cursor, count, isNumber
}

func hset(c *call) any {
	e := c.make(c.args[0])
	if e.hash == nil {
		e.hash = map[string]string{}
	}
	before := len(e.hash)
	for i := 1; i+1 < len(c.args); i += 2 {
		e.hash[c.args[i]] = c.args[i+1]
	}
	return len(e.hash) - before
}

func (c *call) fields() map[string]string {
	if e := c.get(c.args[0]); e != nil {
		return e.hash
	}
	return nil
}

func hdel(c *call) any {
	e := c.get(c.args[0])
	if e == nil {
		return 0
	}
	before := len(e.hash)
	for _, field := range c.args[1:] {
		delete(e.hash, field)
	}
	c.drop(c.args[0], e)
	return before - len(e.hash)
}

func hget(c *call) any {
	if value, present := c.fields()[c.args[1]]; present {
		return value
	}
	return nil
}

func hmget(c *call) any {
	fields, values := c.fields(), []any{}
	for _, field := range c.args[1:] {
		if value, present := fields[field]; present {
			values = append(values, value)
		} else {
			values = append(values, nil)
		}
	}
	return values
}

func hexists(c *call) any {
	if _, present := c.fields()[c.args[1]]; present {
		return 1
	}
	return 0
}

// hscan has the hash of a field for its cursor, so that none is passed over where others are
// removed between two pages.
func hscan(c *call) any {
	cursor, count, isNumber := c.page()
	if !isNumber {
		return fault("ERR invalid cursor")
	}
	place := func(field string) int {
		h := fnv.New32a()
		io.WriteString(h, field)
		return int(h.Sum32())
	}
	fields := c.fields()
	order := slices.SortedFunc(maps.Keys(fields), func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	values, last := []any{}, -1
	for _, field := range order {
		at := place(field)
		if at < cursor {
			continue
		}
		if len(values) >= 2*count && at != last {
			return []any{strconv.Itoa(at), values}
		}
		values, last = append(values, field, fields[field]), at
	}
	return []any{"0", values}
}

func hlen(c *call) any { return len(c.fields()) }

func hgetall(c *call) any {
	fields := c.fields()
	values := []any{}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		values = append(values, field, fields[field])
	}
	return values
}

func zadd(c *call) any {
	args := c.args[1:]
	options := map[string]bool{}
	for len(args) > 0 {
		if _, err := strconv.ParseFloat(args[0], 64); err == nil {
			break
		}
		options[strings.ToUpper(args[0])] = true
		args = args[1:]
	}
	e := c.make(c.args[0])
	defer c.drop(c.args[0], e)
	if e.zset == nil {
		e.zset = map[string]float64{}
	}
	added, changed := 0, 0
	for ; len(args) >= 2; args = args[2:] {
		score, err := strconv.ParseFloat(args[0], 64)
		if err != nil {
			return fault("ERR value is not a valid float")
		}
		old, present := e.zset[args[1]]
		switch {
		case options["NX"] && present, options["XX"] && !present,
			options["GT"] && present && score <= old, options["LT"] && present && score >= old:
			continue
		case !present:
			added++
		case score != old:
			changed++
		}
		e.zset[args[1]] = score
	}
	if options["CH"] {
		return added + changed
	}
	return added
}

func zrem(c *call) any {
	e := c.get(c.args[0])
	if e == nil {
		return 0
	}
	before := len(e.zset)
	for _, member := range c.args[1:] {
		delete(e.zset, member)
	}
	c.drop(c.args[0], e)
	return before - len(e.zset)
}

func score(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func zscore(c *call) any {
	if e := c.get(c.args[0]); e != nil {
		if s, present := e.zset[c.args[1]]; present {
			return score(s)
		}
	}
	return nil
}

func zcard(c *call) any {
	if e := c.get(c.args[0]); e != nil {
		return len(e.zset)
	}
	return 0
}

func zrange(c *call) any {
	e := c.get(c.args[0])
	if e == nil {
		return []any{}
	}
	ranked := e.ranked()
	if slices.ContainsFunc(c.args[3:], func(s string) bool { return strings.EqualFold(s, "BYLEX") }) {
		return texts(c.limited(slices.DeleteFunc(ranked, func(m string) bool {
			return !lexFrom(c.args[1], m) || !lexTo(c.args[2], m)
		})))
	}
	from, to := c.span(len(ranked))
	return c.scored(e, ranked[from:to])
}

// lexFrom reports whether a member is not before a bound of BYLEX, lexTo whether it is not
// behind one.
func lexFrom(bound, m string) bool {
	return bound == "-" || bound[0] == '[' && m >= bound[1:] || bound[0] == '(' && m > bound[1:]
}

func lexTo(bound, m string) bool {
	return bound == "+" || bound[0] == '[' && m <= bound[1:] || bound[0] == '(' && m < bound[1:]
}

// limited returns what LIMIT leaves of members.
func (c *call) limited(members []string) []string {
	for i := 3; i+2 < len(c.args); i++ {
		if strings.EqualFold(c.args[i], "LIMIT") {
			offset, _ := c.number(i + 1)
			count, _ := c.number(i + 2)
			members = members[min(offset, len(members)):]
			if count >= 0 {
				members = members[:min(count, len(members))]
			}
		}
	}
	return members
}

// scored adds the scores to members where WITHSCORES wants them.
func (c *call) scored(e *entry, members []string) any {
	with := slices.ContainsFunc(c.args[3:], func(s string) bool { return strings.EqualFold(s, "WITHSCORES") })
	values := []any{}
	for _, m := range members {
		if values = append(values, m); with {
			values = append(values, score(e.zset[m]))
		}
	}
	return values
}

// byScore returns the members whose scores are within the second and third
// argument.
func (c *call) byScore() (e *entry, members []string) {
	if e = c.get(c.args[0]); e == nil {
		return nil, nil
	}
	low, lowOpen := bound(c.args[1])
	high, highOpen := bound(c.args[2])
	for _, m := range e.ranked() {
		s := e.zset[m]
		if s > low || s == low && !lowOpen {
			if s < high || s == high && !highOpen {
				members = append(members, m)
			}
		}
	}
	return e, members
}

func bound(s string) (limit float64, open bool) {
	s, open = strings.CutPrefix(s, "(")
	switch s {
	case "-inf":
		return math.Inf(-1), open
	case "+inf", "inf":
		return math.Inf(1), open
	}
	limit, _ = strconv.ParseFloat(s, 64)
	return limit, open
}

func zrangeByScore(c *call) any {
	e, members := c.byScore()
	if e == nil {
		return []any{}
	}
	return c.scored(e, c.limited(members))
}

func zcount(c *call) any {
	_, members := c.byScore()
	return len(members)
}

func zremRangeByScore(c *call) any {
	e, members := c.byScore()
	for _, m := range members {
		delete(e.zset, m)
	}
	if e != nil {
		c.drop(c.args[0], e)
	}
	return len(members)
}

func texts(list []string) []any {
	values := make([]any, len(list))
	for i, s := range list {
		values[i] = s
	}
	return values
}

func unknownCommand(name string) fault {
	return fault(fmt.Sprintf("ERR unknown command '%s'", name))
}
