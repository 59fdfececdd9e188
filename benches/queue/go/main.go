// The driver for asynq. `../src/drive.rs` describes the arguments and what is printed.
//
// Its defaults: a lease of 30 s, extended every 5 s; a task that is done is deleted (Retention 0). asynq has no call for
// many tasks, so the producer is 32 goroutines that share a client. An idle server looks for tasks every second; `-poll`
// is TaskCheckInterval, of which its documentation says that too low a value adds load to Redis.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	producers = 32
	lookEvery = time.Millisecond
	patience  = 180 * time.Second
	// So long a server is given to fall idle before the first latency is taken.
	settle = 500 * time.Millisecond
)

type driver struct {
	address     asynq.RedisClientOpt
	client      *asynq.Client
	raw         *redis.Client
	concurrency int
	poll        time.Duration
}

func main() {
	url := flag.String("url", "", "the server, redis://HOST:PORT")
	measure := flag.String("measure", "drain", "drain or latency")
	jobs := flag.Int("jobs", 0, "how many jobs")
	warmUp := flag.Int("warm-up", 0, "how many jobs before, unmeasured")
	workers := flag.Int("workers", 1, "how many servers")
	concurrency := flag.Int("concurrency", 32, "tasks at the same time in each")
	rate := flag.Int("rate", 50, "tasks per second (latency)")
	poll := flag.Duration("poll", 0, "TaskCheckInterval; 0 is asynq's default")
	flag.Parse()

	time.AfterFunc(patience, func() { fail(fmt.Errorf("not all jobs were done in time")) })
	host := strings.TrimPrefix(*url, "redis://")
	address := asynq.RedisClientOpt{Addr: host}
	d := driver{
		address:     address,
		client:      asynq.NewClient(address),
		raw:         redis.NewClient(&redis.Options{Addr: host}),
		concurrency: *concurrency,
		poll:        *poll,
	}
	var err error
	if *measure == "drain" {
		err = d.drain(*jobs, *warmUp, *workers)
	} else {
		err = d.latency(*jobs, *rate)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (d *driver) enqueue(jobs int) error {
	var group sync.WaitGroup
	var next atomic.Int64
	failures := make(chan error, producers)
	for range producers {
		group.Go(func() {
			for number := int(next.Add(1)) - 1; number < jobs; number = int(next.Add(1)) - 1 {
				if err := d.push(number); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	return <-failures
}

func (d *driver) push(number int) error {
	_, err := d.client.Enqueue(asynq.NewTask("empty", []byte(strconv.Itoa(number))))
	return err
}

func (d *driver) start(workers int, handler asynq.HandlerFunc) ([]*asynq.Server, error) {
	var servers []*asynq.Server
	for range workers {
		config := asynq.Config{Concurrency: d.concurrency, TaskCheckInterval: d.poll, LogLevel: asynq.ErrorLevel}
		server := asynq.NewServer(d.address, config)
		if err := server.Start(handler); err != nil {
			return nil, err
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// Starts servers and waits until all of so many jobs are acknowledged.
func (d *driver) workOff(workers, jobs int) ([]*asynq.Server, error) {
	var started atomic.Int64
	all := make(chan struct{})
	servers, err := d.start(workers, func(context.Context, *asynq.Task) error {
		if started.Add(1) == int64(jobs) {
			close(all)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	<-all
	for {
		active, err := d.raw.LLen(context.Background(), "asynq:{default}:active").Result()
		if err != nil {
			return nil, err
		}
		if active == 0 {
			break
		}
		time.Sleep(lookEvery)
	}
	if started.Load() != int64(jobs) {
		return nil, fmt.Errorf("%d handlers ran for %d jobs", started.Load(), jobs)
	}
	return servers, nil
}

func (d *driver) drain(jobs, warmUp, workers int) error {
	if warmUp > 0 {
		if err := d.enqueue(warmUp); err != nil {
			return err
		}
		servers, err := d.workOff(1, warmUp)
		if err != nil {
			return err
		}
		for _, server := range servers {
			server.Shutdown()
		}
	}
	begin := time.Now()
	if err := d.enqueue(jobs); err != nil {
		return err
	}
	report(map[string]any{"event": "enqueued", "jobs": jobs, "seconds": time.Since(begin).Seconds()})
	begin = time.Now()
	if _, err := d.workOff(workers, jobs); err != nil {
		return err
	}
	report(map[string]any{"event": "drained", "jobs": jobs, "seconds": time.Since(begin).Seconds()})
	return nil
}

func (d *driver) latency(jobs, rate int) error {
	pushed := make([]time.Time, jobs)
	micros := make([]float64, jobs)
	var started atomic.Int64
	all := make(chan struct{})
	_, err := d.start(1, func(_ context.Context, task *asynq.Task) error {
		now := time.Now()
		number, err := strconv.Atoi(string(task.Payload()))
		if err != nil {
			return err
		}
		// Written before the push, which this handler has come after.
		micros[number] = float64(now.Sub(pushed[number]).Nanoseconds()) / 1e3
		if started.Add(1) == int64(jobs) {
			close(all)
		}
		return nil
	})
	if err != nil {
		return err
	}
	time.Sleep(settle)
	begin := time.Now()
	for number := range jobs {
		time.Sleep(time.Until(begin.Add(time.Duration(number) * time.Second / time.Duration(rate))))
		pushed[number] = time.Now()
		if err := d.push(number); err != nil {
			return err
		}
	}
	<-all
	report(map[string]any{"event": "latency", "micros": micros})
	return nil
}

func report(found map[string]any) {
	line, err := json.Marshal(found)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}
