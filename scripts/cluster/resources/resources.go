// Package resources names the custom resources of others that manifests here use. Their definitions, which a server
// takes, are made of their types, as their owners make them: go generate writes them into the folder DEFINITIONS.
package resources

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
)

//go:generate go tool controller-gen crd paths=github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1 paths=github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1 output:crd:dir=$DEFINITIONS
