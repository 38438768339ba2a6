package netpoll_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/juggler-go/juggler/internal/netpoll"
	"github.com/juggler-go/juggler/internal/waiting"
)

func newPoller(t *testing.T) *netpoll.Poller {
	t.Helper()
	p, err := netpoll.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return p
}

// socketPair returns two connected, non-blocking descriptors.
func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = netpoll.Close(fds[0]) // some tests have closed it
		_ = netpoll.Close(fds[1])
	})
	return fds[0], fds[1]
}

// tcpPair returns both ends of a TCP connection.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// check waits without blocking and compares what is ready.
func check(t *testing.T, p *netpoll.Poller, want ...netpoll.Event) {
	t.Helper()
	got, err := p.Wait(0)
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
}

func TestReadinessIsReportedAsLongAsItLasts(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	const token = 0xdeadbeef_12345678 // all 64 bits come back
	if err := p.Add(a, token, netpoll.Readable); err != nil {
		t.Fatal(err)
	}
	check(t, p)
	if n, err := netpoll.Write(b, []byte("xy")); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	for range 2 { // level-triggered
		check(t, p, netpoll.Event{Token: token, Readable: true})
	}
	if err := p.Modify(a, token, 0); err != nil {
		t.Fatal(err)
	}
	check(t, p)
	if err := p.Modify(a, token, netpoll.Readable|netpoll.Writable); err != nil {
		t.Fatal(err)
	}
	check(t, p, netpoll.Event{Token: token, Readable: true, Writable: true})
	buf := make([]byte, 10)
	if n, err := netpoll.Read(a, buf); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	check(t, p, netpoll.Event{Token: token, Writable: true})
	if _, err := netpoll.Read(a, buf); err != netpoll.ErrWouldBlock {
		t.Errorf("Read of nothing: %v", err)
	}
}

func TestAHangUpIsReportedWithoutInterest(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	if err := p.Add(a, 7, 0); err != nil {
		t.Fatal(err)
	}
	if err := netpoll.ShutdownWrite(b); err != nil {
		t.Fatal(err)
	}
	check(t, p, netpoll.Event{Token: 7, Readable: true, HangUp: true})
	if _, err := netpoll.Read(a, make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v, want EOF", err)
	}
	if n, err := netpoll.Write(a, []byte("still")); n != 5 || err != nil {
		t.Errorf("the other direction: %d, %v", n, err)
	}
	if err := netpoll.Close(b); err != nil {
		t.Fatal(err)
	}
	check(t, p, netpoll.Event{Token: 7, Readable: true, Writable: true, HangUp: true})
}

func TestAClosedDescriptorIsForgotten(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	if err := p.Add(a, 1, netpoll.Readable); err != nil {
		t.Fatal(err)
	}
	if _, err := netpoll.Write(b, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := netpoll.Close(a); err != nil {
		t.Fatal(err)
	}
	check(t, p)
	if err := p.Add(a, 1, netpoll.Readable); !errors.Is(err, unix.EBADF) {
		t.Errorf("Add of a closed descriptor: %v", err)
	}
	if err := p.Modify(a, 1, 0); err == nil {
		t.Error("Modify of a closed descriptor succeeds")
	}
}

func TestWakeInterruptsWait(t *testing.T) {
	p := newPoller(t)
	woken := make(chan error)
	for range 100 {
		go func() {
			events, err := p.Wait(-1)
			if len(events) > 0 {
				err = errors.New("a wake-up is no event")
			}
			woken <- err
		}()
		if err := p.Wake(); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-woken:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(waiting.Most):
			t.Fatal("Wait was not interrupted")
		}
	}
	check(t, p) // wake-ups are not reported twice
}

func TestManyWakersAtOnce(t *testing.T) {
	p := newPoller(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				if err := p.Wake(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if _, err := p.Wait(-1); err != nil {
		t.Error(err)
	}
	check(t, p)
}

// TestASignalIsNoError sends signals to a waiting thread: an interrupted Wait
// returns early without an error.
func TestASignalIsNoError(t *testing.T) {
	p := newPoller(t)
	thread := make(chan int, 1)
	done := make(chan error)
	stop := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		for {
			if events, err := p.Wait(-1); err != nil || len(events) > 0 {
				done <- err
				return
			}
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
		}
	}()
	tid := <-thread
	for range 100 {
		// SIGURG is what the runtime preempts with: it expects it anytime.
		if err := unix.Tgkill(unix.Getpid(), tid, syscall.SIGURG); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	close(stop)
	if err := p.Wake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOnlyPlainSocketsAreDuplicated(t *testing.T) {
	tcp, _ := tcpPair(t)
	pipe, other := net.Pipe()
	defer pipe.Close()
	defer other.Close()
	type wrapper struct{ net.Conn }
	type embedding struct{ *net.TCPConn }
	for _, nc := range []net.Conn{pipe, wrapper{tcp}, embedding{tcp.(*net.TCPConn)}, &embedding{tcp.(*net.TCPConn)}} {
		if _, ok, err := netpoll.Duplicate(nc); ok || err != nil {
			t.Errorf("%T: %v, %v; want it left alone", nc, ok, err)
		}
	}
	tcp.Close()
	if _, ok, err := netpoll.Duplicate(tcp); !ok || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed connection: %v, %v", ok, err)
	}
}

func TestADuplicateOutlivesItsConnection(t *testing.T) {
	nc, peer := tcpPair(t)
	file, err := nc.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	file.Fd() // has the socket block, as after somebody has set an option by it
	file.Close()
	fd, ok, err := netpoll.Duplicate(nc)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	defer func() { _ = netpoll.Close(fd) }()
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: want it closed on exec", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("status flags %#x, %v: want it non-blocking", flags, err)
	}
	nc.Close()
	if _, err := netpoll.Write(fd, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(peer, buf); err != nil || string(buf) != "hello" {
		t.Errorf("got %q, %v", buf, err)
	}
}

func TestResetIsSeenByThePeer(t *testing.T) {
	nc, peer := tcpPair(t)
	fd, _, err := netpoll.Duplicate(nc)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if err := netpoll.Reset(fd); err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("peer reads %v, want a reset", err)
	}
}

func TestAFullSocketWouldBlock(t *testing.T) {
	a, b := socketPair(t)
	p := newPoller(t)
	chunk := make([]byte, 1<<16)
	for {
		_, err := netpoll.Write(a, chunk)
		if err == netpoll.ErrWouldBlock {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Add(a, 3, netpoll.Writable); err != nil {
		t.Fatal(err)
	}
	check(t, p)
	for {
		if _, err := netpoll.Read(b, chunk); err == netpoll.ErrWouldBlock {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	check(t, p, netpoll.Event{Token: 3, Writable: true})
	if err := netpoll.Close(b); err != nil {
		t.Fatal(err)
	}
	if _, err := netpoll.Write(a, chunk); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Write to nobody: %v", err)
	}
	if _, err := netpoll.Read(-1, chunk); !errors.Is(err, unix.EBADF) {
		t.Errorf("Read of no descriptor: %v", err)
	}
}
