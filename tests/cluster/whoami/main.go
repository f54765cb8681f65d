// Stands in for docker.io/traefik/whoami where no image can be pulled: answers each request with what it received.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	port := flag.Int("port", 80, "where it listens")
	flag.Parse()
	host, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hostname: %s\nRemoteAddr: %s\n%s %s %s\nHost: %s\n", host, r.RemoteAddr, r.Method, r.URL, r.Proto, r.Host)
		r.Header.Write(w)
	})
	// As the first process of a container, it would pass the signal over otherwise.
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	go func() { log.Fatal(http.ListenAndServe(fmt.Sprintf(":%d", *port), nil)) }()
	<-ends
}
