package peer

import (
	"bufio"
	"encoding/json"
	"os"
	"sync"
)

type seen struct {
	At   int64 `json:"at"`
	What any   `json:"what"`
}

// Witness is where observations go.
type Witness struct {
	out  chan seen
	done chan struct{}
	lock sync.Mutex
	down map[string]bool
}

func newWitness() *Witness {
	w := &Witness{out: make(chan seen, 4096), done: make(chan struct{}), down: map[string]bool{}}
	go w.write()
	return w
}

// ForAnother is the same way out, for another client: its outages are its own.
func (w *Witness) ForAnother() *Witness {
	return &Witness{out: w.out, done: w.done, down: map[string]bool{}}
}

func (w *Witness) write() {
	defer close(w.done)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for each := range w.out {
		if encoder.Encode(each) != nil {
			return
		}
		if len(w.out) == 0 && out.Flush() != nil {
			return
		}
		if each.What == "finished" {
			_ = out.Flush()
			return
		}
	}
}

// Tell says something that needs no more words, as "ready".
func (w *Witness) Tell(what string) { w.tell(what) }

// TellOf says something of a kind.
func (w *Witness) TellOf(kind string, what any) { w.tell(map[string]any{kind: what}) }

func (w *Witness) tell(what any) {
	select {
	case w.out <- seen{Now(), what}:
	case <-w.done:
		// Nobody listens any more.
	}
}

// Lost says that a connection was lost, or that something failed on it in a way that the user sees. Once for each outage.
func (w *Witness) Lost(link, cause string) {
	if w.turn(link, true) {
		w.TellOf("disconnected", map[string]string{"link": link, "cause": cause})
	}
}

// Back says that a connection is there again, or that something worked on it. Once for each outage.
func (w *Witness) Back(link string) {
	if w.turn(link, false) {
		w.TellOf("activated", map[string]string{"link": link})
	}
}

func (w *Witness) turn(link string, isDown bool) bool {
	w.lock.Lock()
	defer w.lock.Unlock()
	isNews := w.down[link] != isDown
	w.down[link] = isDown
	return isNews
}
