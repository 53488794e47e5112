// Publishes the lines of a file into a JetStream, each with an id by which the server knows it again, with NATS's own client:
// what `tapline load` does, without the position that it keeps beside.
package main

import (
	"bufio"
	"log"
	"os"
	"strconv"

	"github.com/nats-io/nats.go"
)

func main() {
	url, stream, subject, path := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	connection, err := nats.Connect(url)
	check(err)
	jetstream, err := connection.JetStream(nats.PublishAsyncMaxPending(4000))
	check(err)
	_, err = jetstream.AddStream(&nats.StreamConfig{Name: stream, Subjects: []string{subject}})
	check(err)
	file, err := os.Open(path)
	check(err)
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for number := 0; lines.Scan(); number++ {
		line := append([]byte(nil), lines.Bytes()...)
		_, err = jetstream.PublishAsync(subject, line, nats.MsgId("r_"+strconv.Itoa(number)))
		check(err)
	}
	check(lines.Err())
	<-jetstream.PublishAsyncComplete()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
