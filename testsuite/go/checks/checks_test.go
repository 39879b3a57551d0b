package checks

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The code that runs here is the kernel's neighbour, or a process as any other.
func TestRing(t *testing.T) {
	want := os.Getenv("WANT_RING")
	if got := ring(); want != "" && got != want {
		t.Errorf("ring %s, not %s", got, want)
	}
}

func TestStacksGrow(t *testing.T) {
	if got := deep(200000); got != 200000 {
		t.Error(got)
	}
}

func TestFaultsArePanics(t *testing.T) {
	var nothing *struct{ field int }
	defer func() {
		fault, ok := recover().(runtime.Error)
		if !ok {
			t.Error(fault)
		}
	}()
	t.Error(nothing.field)
}

func TestFaultsAtWildAddresses(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	memory, err := syscall.Mmap(-1, 0, 4096, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("no fault")
		}
	}()
	t.Error(memory[0])
}

func TestManyGoroutines(t *testing.T) {
	const many = 10000
	first := make(chan int)
	in := first
	for i := 0; i < many; i++ {
		out := make(chan int)
		go func(in <-chan int, out chan<- int) { out <- 1 + <-in }(in, out)
		in = out
	}
	first <- 0
	if got := <-in; got != many {
		t.Error(got)
	}
}

func TestCollectionStopsWhatComputes(t *testing.T) {
	stop := make(chan struct{})
	var sum int
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for i := 0; i < 1<<24; i++ {
				sum += i
			}
		}
	}()
	finalized := make(chan struct{})
	runtime.SetFinalizer(&[1 << 16]byte{}, func(*[1 << 16]byte) { close(finalized) })
	for i := 0; i < 10; i++ {
		runtime.GC()
	}
	<-finalized
	close(stop)
}

func TestSignals(t *testing.T) {
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGUSR1)
	defer signal.Stop(got)
	for i := 0; i < 100; i++ {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-got
	}
}

// samples counts the samples of a profile. It is a compressed protocol buffer, in which they are
// field 2: each again a buffer, and the first of its fields 2 says how often it was taken.
func samples(t *testing.T, profile *bytes.Buffer) uint64 {
	reader, err := gzip.NewReader(profile)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	var count uint64
	fields(data, func(_ uint64, sample []byte) bool {
		fields(sample, func(value uint64, _ []byte) bool {
			count += value
			return false
		})
		return true
	})
	return count
}

// fields calls take with each field 2 of a protocol buffer, a number or bytes, while it wants more.
func fields(data []byte, take func(uint64, []byte) bool) {
	next := func() uint64 {
		number, size := binary.Uvarint(data)
		data = data[size:]
		return number
	}
	for len(data) > 0 {
		key, number := next(), next()
		var content []byte
		if key&7 == 2 {
			content, data = data[:number], data[number:]
		}
		if key>>3 == 2 && !take(number, content) {
			return
		}
	}
}

// The profiler's signal arrives anywhere, in the middle of system calls too.
func TestProfile(t *testing.T) {
	var profile bytes.Buffer
	if err := pprof.StartCPUProfile(&profile); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(time.Second)
	for time.Now().Before(end) {
		for i := 0; i < 1000; i++ {
			syscall.Getppid()
		}
		deep(1000)
	}
	pprof.StopCPUProfile()
	// It takes a hundred in a second, if the machine has nothing else to do.
	if got := samples(t, &profile); got < 10 {
		t.Errorf("%d samples", got)
	}
}

func TestC(t *testing.T) {
	var all sync.WaitGroup
	for i := 0; i < 8; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < 20; n++ {
				if got := throughThread(n * 100); got != n*100 {
					t.Errorf("%d, not %d", got, n*100)
				}
			}
		}()
	}
	all.Wait()
	if err := failsInC(); err != syscall.EBADF {
		t.Error(err)
	}
}

func TestPoller(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				buffer := make([]byte, 4096)
				n, _ := connection.Read(buffer)
				connection.Write(buffer[:n])
				connection.Close()
			}()
		}
	}()
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			connection, err := net.Dial("tcp", listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer connection.Close()
			connection.Write([]byte("hello"))
			answer := make([]byte, 5)
			if _, err := connection.Read(answer); err != nil || string(answer) != "hello" {
				t.Errorf("%q, %v", answer, err)
			}
		}()
	}
	all.Wait()
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	_, err = connection.Read(make([]byte, 1))
	if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
		t.Error(err)
	}
}

// A second process of this very program.
func TestChildren(t *testing.T) {
	if os.Getenv("CHILD") != "" {
		os.Exit(7)
	}
	command := exec.Command("/proc/self/exe", "-test.run=TestChildren")
	command.Env = append(os.Environ(), "CHILD=1")
	err := command.Run()
	status, ok := err.(*exec.ExitError)
	if !ok || status.ExitCode() != 7 {
		t.Error(err)
	}
}
