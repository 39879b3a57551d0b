// A server that always computes: on one processor it only gets to answer because the runtime
// interrupts what computes with signals.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

var (
	turns uint64
	sum   int
	kept  [64][]byte
)

// A loop without a call in it has no place at which it would let others run.
func compute() {
	for i := 0; ; i++ {
		sum += i
		if i&0xffff == 0 {
			atomic.AddUint64(&turns, 1)
		}
	}
}

func main() {
	go compute()
	var served uint64
	http.HandleFunc("/echo/", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// Something for the garbage collector: what 64 answers later is not needed any more.
		garbage := make([]byte, 256<<10)
		kept[atomic.AddUint64(&served, 1)%64] = garbage
		// One goroutine for each word, joined again in order.
		words := strings.Fields(string(body))
		answers := make([]chan string, len(words))
		for i, word := range words {
			answers[i] = make(chan string)
			go func(word string, answer chan<- string) { answer <- strings.ToUpper(word) }(word, answers[i])
		}
		for _, answer := range answers {
			fmt.Fprintln(w, <-answer)
		}
	})
	http.HandleFunc("/state", func(w http.ResponseWriter, r *http.Request) {
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		fmt.Fprintf(w, "collections %d\nturns %d\nserved %d\n",
			memory.NumGC, atomic.LoadUint64(&turns), atomic.LoadUint64(&served))
	})
	http.HandleFunc("/quit", func(w http.ResponseWriter, r *http.Request) {
		go func() {
			time.Sleep(100 * time.Millisecond)
			os.Exit(42)
		}()
	})
	fmt.Println(http.ListenAndServe(":80", nil))
	os.Exit(1)
}
