// SPDX-License-Identifier: MIT

// stdin and stdout over TLS: tls-bridge PORT CA-FILE 1.2|1.3 SUITE
// Go chooses the suite of 1.3 itself. Ends with 0 only after the server's
// close_notify.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
)

func main() {
	ca, err := os.ReadFile(os.Args[2])
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	version := uint16(tls.VersionTLS13)
	if os.Args[3] == "1.2" {
		version = tls.VersionTLS12
		for _, s := range tls.CipherSuites() {
			if s.Name == os.Args[4] {
				config.CipherSuites = []uint16{s.ID}
			}
		}
	}
	config.MinVersion, config.MaxVersion = version, version
	c, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], config)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, tls.CipherSuiteName(c.ConnectionState().CipherSuite))
	go io.Copy(c, os.Stdin)
	if _, err := io.Copy(os.Stdout, c); err != nil {
		panic(err)
	}
}
