package redis

import (
	_ "embed"

	"github.com/juggler-go/juggler/broker/redis/internal/resp"
)

// The Lua scripts. Keys, arguments and replies are described in the files, for callees
// in other languages use them too.
var (
	//go:embed lua/queue.lua
	queueSource string
	//go:embed lua/push.lua
	pushSource string
	//go:embed lua/take.lua
	takeSource string
	//go:embed lua/announce.lua
	announceSource string
	//go:embed lua/withdraw.lua
	withdrawSource string
	//go:embed lua/giveback.lua
	givebackSource string
	//go:embed lua/stop.lua
	stopSource string
	//go:embed lua/collect.lua
	collectSource string
	//go:embed lua/result.lua
	resultSource string
	//go:embed lua/part.lua
	partSource string
	//go:embed lua/parts.lua
	partsSource string
	//go:embed lua/cancel.lua
	cancelSource string
	//go:embed lua/dead.lua
	deadSource string
	//go:embed lua/reap.lua
	reapSource string
	//go:embed lua/queues.lua
	queuesSource string
	//go:embed lua/refuse.lua
	refuseSource string
	//go:embed lua/check.lua
	checkSource string
	//go:embed lua/peers.lua
	peersSource string
	//go:embed lua/publish.lua
	publishSource string
	//go:embed lua/rules.lua
	rulesSource string
	//go:embed lua/position.lua
	positionSource string
	//go:embed lua/keep.lua
	keepSource string
	//go:embed lua/read.lua
	readSource string
	//go:embed lua/lost.lua
	lostSource string
	//go:embed lua/record.lua
	recordSource string
	//go:embed lua/attach.lua
	attachSource string
	//go:embed lua/commit.lua
	commitSource string
	//go:embed lua/append.lua
	appendSource string
	//go:embed lua/status.lua
	statusSource string
	//go:embed lua/halt.lua
	haltSource string
	//go:embed lua/registry.lua
	registrySource string
	//go:embed lua/register.lua
	registerSource string
	//go:embed lua/registered.lua
	registeredSource string
	//go:embed lua/heretell.lua
	hereTellSource string
	//go:embed lua/here.lua
	hereSource string
	//go:embed lua/heredrop.lua
	hereDropSource string
	//go:embed lua/herebeat.lua
	hereBeatSource string
	//go:embed lua/hereread.lua
	hereReadSource string

	pushScript     = resp.NewScript(queueSource + pushSource)
	takeScript     = resp.NewScript(takeSource)
	announceScript = resp.NewScript(announceSource)
	withdrawScript = resp.NewScript(withdrawSource)
	givebackScript = resp.NewScript(givebackSource)
	stopScript     = resp.NewScript(stopSource)
	collectScript  = resp.NewScript(collectSource)
	resultScript   = resp.NewScript(resultSource)
	partScript     = resp.NewScript(partSource)
	partsScript    = resp.NewScript(partsSource)
	cancelScript   = resp.NewScript(cancelSource)
	deadScript     = resp.NewScript(deadSource)
	reapScript     = resp.NewScript(reapSource)
	queuesScript   = resp.NewScript(queuesSource)
	refuseScript   = resp.NewScript(refuseSource)
	checkScript    = resp.NewScript(checkSource)
	peersScript    = resp.NewScript(peersSource)
	publishScript  = resp.NewScript(publishSource)
	rulesScript    = resp.NewScript(rulesSource)
	keepScript     = resp.NewScript(positionSource + keepSource)
	readScript     = resp.NewScript(positionSource + readSource)
	lostScript     = resp.NewScript(positionSource + lostSource)
	attachScript   = resp.NewScript(queueSource + recordSource + attachSource)
	commitScript   = resp.NewScript(recordSource + commitSource)
	appendScript   = resp.NewScript(recordSource + appendSource)
	statusScript   = resp.NewScript(recordSource + statusSource)
	haltScript     = resp.NewScript(recordSource + haltSource)
	hereScript     = resp.NewScript(hereTellSource + hereSource)
	hereDropScript = resp.NewScript(hereTellSource + hereDropSource)
	hereBeatScript = resp.NewScript(hereBeatSource)
	hereReadScript = resp.NewScript(hereReadSource)

	registerScript   = resp.NewScript(registrySource + registerSource)
	registeredScript = resp.NewScript(registrySource + registeredSource)
)
