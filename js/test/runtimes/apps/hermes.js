// What the shell of Hermes lacks and React Native has. Its own timers do not
// wait, not even for promises: here the earliest comes first, at no time, once
// what promises do is done.
if (!globalThis.queueMicrotask) globalThis.queueMicrotask = function (task) { Promise.resolve().then(task); };
if (!globalThis.AbortController) {
  globalThis.AbortController = function () {
    this.signal = { aborted: false, addEventListener: function () {}, removeEventListener: function () {} };
    this.abort = function () {};
  };
}
(function () {
  var timers = [], last = 0, now = 0, running = false;
  function next(turns) {
    if (turns) return void Promise.resolve(turns - 1).then(next);
    running = timers.length > 0;
    if (!running) return;
    timers.sort(function (a, b) { return a.at - b.at || a.id - b.id; });
    var timer = timers.shift();
    now = timer.at;
    next(100);
    timer.task();
  }
  globalThis.setTimeout = function (task, ms) {
    timers.push({ id: ++last, at: now + (ms || 0), task: task });
    if (!running) next(100);
    running = true;
    return last;
  };
  globalThis.clearTimeout = function (id) {
    timers = timers.filter(function (timer) { return timer.id !== id; });
  };
})();
