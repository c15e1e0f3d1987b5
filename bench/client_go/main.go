// Take and release locks with slock's own client, and print commands a second.
//
// bench/client.py builds and runs it: see there. Each goroutine takes and releases a
// lock on its own key in a loop, all of them over one connection. A command is one
// LOCK or one UNLOCK.
package main

import (
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/snower/slock/client"
	"github.com/snower/slock/protocol"
)

const waitSeconds, leaseSeconds = 10, 10

// work uses one key until the time is over; it returns the commands that it sent.
func work(connection *client.Client, ends time.Time) (uint64, error) {
	key := protocol.GenLockId()
	commands := uint64(0)
	for time.Now().Before(ends) {
		// A handle for each pair, as the other clients of the comparison make one.
		lock := connection.Lock(key, waitSeconds, leaseSeconds)
		if _, err := lock.Lock(); err != nil {
			return commands, err
		}
		if _, err := lock.Unlock(); err != nil {
			return commands, err
		}
		commands += 2
	}
	return commands, nil
}

// measure returns the commands a second of all goroutines together.
func measure(connection *client.Client, tasks int, seconds float64) (float64, error) {
	var total atomic.Uint64
	var group sync.WaitGroup
	failures := make(chan error, tasks)
	began := time.Now()
	ends := began.Add(time.Duration(seconds * float64(time.Second)))
	for i := 0; i < tasks; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			commands, err := work(connection, ends)
			total.Add(commands)
			if err != nil {
				failures <- err
			}
		}()
	}
	group.Wait()
	close(failures)
	return float64(total.Load()) / time.Since(began).Seconds(), <-failures
}

func main() {
	host := flag.String("host", "127.0.0.1", "address of the server")
	port := flag.Uint("port", 5658, "port of the server")
	tasks := flag.Int("tasks", 1, "number of goroutines")
	seconds := flag.Float64("seconds", 3, "how long to run")
	flag.Parse()

	connection := client.NewClient(*host, *port)
	if err := connection.Open(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rate, err := measure(connection, *tasks, *seconds)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%.0f\n", rate)
}
