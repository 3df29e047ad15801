{{/*
What values must be together, which values.schema.json cannot say in words that help. A value that would have no effect
is refused like one that contradicts another.
*/}}
{{- define "vectorops.check" -}}
{{- $values := .Values }}
{{- with $values.metrics }}
{{- if and .serviceMonitor.enabled .podMonitor.enabled }}
{{- fail "metrics.serviceMonitor.enabled and metrics.podMonitor.enabled: every sample would be scraped twice; enable one" }}
{{- end }}
{{- if and .serviceMonitor.enabled (not .service.enabled) }}
{{- fail "metrics.serviceMonitor.enabled needs metrics.service.enabled; without a Service, enable metrics.podMonitor" }}
{{- end }}
{{- end }}
{{- with $values.caBundle }}
{{- if and .configMapName .secretName }}
{{- fail "caBundle: configMapName and secretName are both given; the authorities are read from one of them" }}
{{- end }}
{{- end }}
{{- if eq (dig "emptyDir" "medium" "" (default dict $values.sources.staging.volume)) "Memory" }}
{{- fail "sources.staging.volume: a memory-backed emptyDir would count against the memory limit of the pod; use a disk" }}
{{- end }}
{{- if and $values.rbac.configMaps (not $values.rbac.create) }}
{{- fail "rbac.configMaps has no effect without rbac.create: grant the service account list and watch on ConfigMaps yourself" }}
{{- end }}
{{- if and $values.rbac.readerConfigMaps (not $values.rbac.create) }}
{{- fail "rbac.readerConfigMaps has no effect without rbac.create: grant the service account get, create, patch and delete on ConfigMaps yourself" }}
{{- end }}
{{- $budget := $values.podDisruptionBudget }}
{{- if and $budget.enabled (gt (int $values.replicaCount) 1) (not (kindIs "string" $budget.minAvailable)) }}
{{- if ge (int $budget.minAvailable) (int $values.replicaCount) }}
{{- fail (printf "podDisruptionBudget.minAvailable: %v of replicaCount %v: no node with one of them could be drained" $budget.minAvailable $values.replicaCount) }}
{{- end }}
{{- end }}
{{- range $where, $labels := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels }}
{{- range $name := keys (default dict $labels) }}
{{- if hasKey (include "vectorops.ownLabels" $ | fromYaml) $name }}
{{- fail (printf "%s: %s is set by the chart; other objects are found by it" $where $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- $set := list "POD_NAME" "POD_NAMESPACE" }}
{{- range $values.extraEnv }}
{{- if has .name $set }}
{{- fail (printf "extraEnv: %s is set by the chart" .name) }}
{{- else if eq .name "HF_HOME" }}
{{- fail "extraEnv: HF_HOME is set by the chart; name the volume of the model cache with embedding.cacheVolume" }}
{{- else if and (eq .name "SSL_CERT_FILE") (include "vectorops.caBundle" $) }}
{{- fail "extraEnv: SSL_CERT_FILE is set by caBundle" }}
{{- else if hasPrefix "VECTOROPS_" .name }}
{{- fail (printf "extraEnv: %s would have no effect: the chart sets the flag, which wins; use its value" .name) }}
{{- end }}
{{- end }}
{{- if and $values.networkPolicy.metricsFrom (not $values.networkPolicy.enabled) }}
{{- fail "networkPolicy.metricsFrom has no effect without networkPolicy.enabled" }}
{{- end }}
{{- if and $values.clusterConnections.secretNamespaces $values.watchNamespaces }}
{{- fail "clusterConnections.secretNamespaces has no effect with watchNamespaces: there are no ClusterQdrantConnections then" }}
{{- end }}
{{- if and $values.networkPolicy.egress (not $values.networkPolicy.enabled) }}
{{- fail "networkPolicy.egress has no effect without networkPolicy.enabled" }}
{{- end }}
{{- end }}
