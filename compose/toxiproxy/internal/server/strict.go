package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/toxics"
	"github.com/gorilla/mux"

	"driftlab/toxiproxy/internal/message"
)

// bodyLimitBytes leaves room for every table a toxic may have.
const bodyLimitBytes = 32 << 20

var toxicFields = []string{"attributes", "name", "stream", "toxicity", "type"}

// strict refuses requests about message toxics that the library would half apply or quietly misread: a field it does not
// know, a field of the wrong type beside good attributes, missing attributes, and a toxicity other than 1, which would
// switch the toxic off for a random part of the connections. Requests about other toxics pass as they are.
func strict(proxies *toxiproxy.ProxyCollection, next http.Handler) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		route := mux.CurrentRoute(request).GetName()
		if route != "ToxicCreate" && route != "ToxicUpdate" {
			next.ServeHTTP(response, request)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, bodyLimitBytes))
		if err != nil {
			refuse(response, err)
			return
		}
		if route == "ToxicUpdate" {
			if toxic := findMessage(proxies, mux.Vars(request)); toxic != nil {
				update(response, toxic, body)
				return
			}
		} else if err := checkCreation(body); err != nil {
			refuse(response, err)
			return
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(response, request)
	})
}

// update sets attributes and answers as the library does. The library's own way would also write the toxicity, which
// connections may be reading, and stop and start every connection; a message toxic needs neither, since its connections
// look at its settings for every frame.
func update(response http.ResponseWriter, toxic *toxics.ToxicWrapper, body []byte) {
	fields, err := checkFields(body)
	if attributes := fields["attributes"]; err == nil && attributes != nil {
		err = json.Unmarshal(attributes, toxic.Toxic)
	}
	if err != nil {
		refuse(response, err)
		return
	}
	data, err := json.Marshal(toxic)
	if err != nil {
		refuse(response, err)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	_, _ = response.Write(data) // a client that has gone needs no answer
}

// checkCreation leaves a body that is not about a message toxic to the library, broken ones included.
func checkCreation(body []byte) error {
	var kind struct {
		Type string `json:"type"`
	}
	// The library, too, reads the first value of a body only.
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&kind)
	if err != nil || kind.Type != message.TypeName {
		return nil
	}
	fields, err := checkFields(body)
	if err != nil {
		return err
	}
	if fields["attributes"] == nil {
		return fmt.Errorf("a new message toxic needs the attributes key and rows")
	}
	return nil
}

// findMessage returns the message toxic that a request names, or nil.
func findMessage(proxies *toxiproxy.ProxyCollection, names map[string]string) *toxics.ToxicWrapper {
	proxy, err := proxies.Get(names["proxy"])
	if err != nil {
		return nil
	}
	toxic := proxy.Toxics.GetToxic(names["toxic"])
	if toxic == nil || toxic.Type != message.TypeName {
		return nil
	}
	return toxic
}

// checkFields returns the fields of a request about a message toxic.
func checkFields(body []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return nil, fmt.Errorf("the body must be one JSON object")
	}
	for name, value := range fields {
		if !slices.Contains(toxicFields, name) {
			return nil, fmt.Errorf("unknown field %q; known are %s", name, strings.Join(toxicFields, ", "))
		}
		if string(value) == "null" {
			return nil, fmt.Errorf("%s must not be null", name)
		}
	}
	var text struct{ Name, Stream, Type string }
	if err := json.Unmarshal(body, &text); err != nil {
		return nil, fmt.Errorf("name, stream and type must be strings")
	}
	if toxicity, present := fields["toxicity"]; present {
		var value float64
		if err := json.Unmarshal(toxicity, &value); err != nil || value != 1 {
			return nil, fmt.Errorf("the toxicity of a message toxic must be 1: its rows say what happens to frames")
		}
	}
	return fields, nil
}

// refuse answers in the library's form.
func refuse(response http.ResponseWriter, err error) {
	refusal := toxiproxy.ApiError{
		Message:    toxiproxy.ErrBadRequestBody.Message + ": " + err.Error(),
		StatusCode: http.StatusBadRequest,
	}
	data, _ := json.Marshal(&refusal)
	response.Header().Set("Content-Type", "application/json")
	http.Error(response, string(data), refusal.StatusCode)
}
