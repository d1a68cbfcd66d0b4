// Package controllers stands in for sigs.k8s.io/mcs-api/controllers, which the module proxy does not serve under the version that
// Cilium asks for. Cilium uses one name of it, for Services of several clusters.
package controllers

// DerivedServiceAnnotation is where a ServiceImport names the Service that stands for it in this cluster.
const DerivedServiceAnnotation = "multicluster.kubernetes.io/derived-service"
