// SPDX-License-Identifier: GPL-2.0-only

// Asks a Redis in the way of Grafana's Redis data source: with its splitter and its client library, of the versions that it uses,
// set up from the settings of a data source. What the plugin makes of the replies is grafana.py's.
//
// Input: one line of JSON, the settings {"url", "jsonData", "secureJsonData"}, then queries, each a JSON string on a line.
// Output: a line of JSON for each: {"value": reply} or {"error": text}. A connection that fails is the first and only line.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"bitbucket.org/creachadair/shell"
	"github.com/mediocregopher/radix/v3"
)

type settings struct {
	URL      string `json:"url"`
	JSONData struct {
		Client        string `json:"client"`
		PoolSize      int    `json:"poolSize"`
		Timeout       int    `json:"timeout"`
		ACL           bool   `json:"acl"`
		User          string `json:"user"`
		TLSAuth       bool   `json:"tlsAuth"`
		TLSSkipVerify bool   `json:"tlsSkipVerify"`
		SentinelName  string `json:"sentinelName"`
		SentinelACL   bool   `json:"sentinelAcl"`
		SentinelUser  string `json:"sentinelUser"`
	} `json:"jsonData"`
	Secure struct {
		Password         string `json:"password"`
		SentinelPassword string `json:"sentinelPassword"`
		CACert           string `json:"tlsCACert"`
		ClientCert       string `json:"tlsClientCert"`
		ClientKey        string `json:"tlsClientKey"`
	} `json:"secureJsonData"`
}

func (s *settings) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: s.JSONData.TLSSkipVerify}
	if s.Secure.CACert != "" {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM([]byte(s.Secure.CACert))
	}
	if s.Secure.ClientCert == "" || s.Secure.ClientKey == "" {
		return config, nil
	}
	pair, err := tls.X509KeyPair([]byte(s.Secure.ClientCert), []byte(s.Secure.ClientKey))
	config.Certificates = []tls.Certificate{pair}
	return config, err
}

// How one connection is made: with a user and password where `acl` is set, with a password alone where there is one.
func (s *settings) dialer(acl bool, user, password string) radix.ConnFunc {
	return func(network, addr string) (radix.Conn, error) {
		options := []radix.DialOpt{radix.DialTimeout(time.Duration(s.JSONData.Timeout) * time.Second)}
		if s.JSONData.TLSAuth {
			config, err := s.tlsConfig()
			if err != nil {
				return nil, err
			}
			options = append(options, radix.DialUseTLS(config))
		}
		if acl {
			options = append(options, radix.DialAuthUser(user, password))
		} else if password != "" {
			options = append(options, radix.DialAuthPass(password))
		}
		return radix.Dial(network, addr, options...)
	}
}

func (s *settings) pool(network, addr string) (radix.Client, error) {
	dial := s.dialer(s.JSONData.ACL, s.JSONData.User, s.Secure.Password)
	return radix.NewPool(network, addr, s.JSONData.PoolSize, radix.PoolConnFunc(dial), radix.PoolPingInterval(0),
		radix.PoolPipelineWindow(0, 0))
}

func (s *settings) connect() (radix.Client, error) {
	switch s.JSONData.Client {
	case "cluster":
		return radix.NewCluster(strings.Split(s.URL, ","), radix.ClusterPoolFunc(s.pool))
	case "sentinel":
		dial := s.dialer(s.JSONData.SentinelACL, s.JSONData.SentinelUser, s.Secure.SentinelPassword)
		return radix.NewSentinel(s.JSONData.SentinelName, strings.Split(s.URL, ","), radix.SentinelConnFunc(dial),
			radix.SentinelPoolFunc(s.pool))
	case "socket":
		return s.pool("unix", s.URL)
	default:
		return s.pool("tcp", s.URL)
	}
}

// The word behind the command is taken for its key, as the plugin does: of FCALL_RO that is the function's name.
func ask(client radix.Client, query string) (reply interface{}, err error) {
	words, ok := shell.Split(query)
	if !ok || len(words) == 0 {
		return nil, errors.New("the query is not valid")
	}
	if len(words) == 1 {
		err = client.Do(radix.Cmd(&reply, words[0]))
	} else {
		err = client.Do(radix.FlatCmd(&reply, words[0], words[1], words[2:]))
	}
	return reply, err
}

// Strings come as bytes.
func plain(reply interface{}) interface{} {
	switch reply := reply.(type) {
	case []byte:
		return string(reply)
	case []interface{}:
		elements := make([]interface{}, len(reply))
		for i, element := range reply {
			elements[i] = plain(element)
		}
		return elements
	case error:
		return map[string]string{"error": reply.Error()}
	default:
		return reply
	}
}

func fail(out *json.Encoder, err error) {
	_ = out.Encode(map[string]string{"error": err.Error()})
}

func main() {
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	in.Buffer(make([]byte, 1<<16), 1<<24)
	var s settings
	if !in.Scan() || json.Unmarshal(in.Bytes(), &s) != nil {
		fmt.Fprintln(os.Stderr, "the settings of a data source are expected on the first line")
		os.Exit(2)
	}
	client, err := s.connect()
	if err != nil {
		fail(out, err)
		return
	}
	for in.Scan() {
		var query string
		if err := json.Unmarshal(in.Bytes(), &query); err != nil {
			fail(out, err)
			continue
		}
		if reply, err := ask(client, query); err != nil {
			fail(out, err)
		} else {
			_ = out.Encode(map[string]interface{}{"value": plain(reply)})
		}
	}
}
