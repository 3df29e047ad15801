{{/* What the operator is told: all of it as flags, so that `kubectl describe` shows it. */}}
{{- define "vectorops.args" -}}
- run
{{- with .Values.installation }}
- {{ printf "--installation=%s" . | quote }}
{{- end }}
{{- range .Values.watchNamespaces }}
- {{ printf "--namespace=%s" . }}
{{- end }}
- {{ printf "--own-namespace=%s" .Release.Namespace }}
{{- range .Values.clusterConnections.secretNamespaces }}
- {{ printf "--secret-namespace=%s" . }}
{{- end }}
- {{ printf "--lease-name=%s" (include "vectorops.fullname" .) }}
- {{ printf "--lease-namespace=%s" .Release.Namespace }}
- {{ printf "--lease-seconds=%v" .Values.leaderElection.leaseSeconds }}
- {{ printf "--workers=%v" .Values.workers }}
- {{ printf "--per-endpoint=%v" .Values.perEndpoint }}
- {{ printf "--max-migrations=%v" .Values.maxMigrations }}
- {{ printf "--resync-seconds=%v" .Values.resyncSeconds }}
- {{ printf "--drain-seconds=%v" .Values.drainSeconds }}
{{- with .Values.embedding.modelFolder }}
- {{ printf "--model-folder=%s" . | quote }}
{{- end }}
{{- if .Values.embedding.offline }}
- --offline
{{- end }}
{{- range .Values.embedding.allowedModels }}
- {{ printf "--allowed-model=%s" . | quote }}
{{- end }}
{{- range .Values.embedding.allowedHosts }}
- {{ printf "--allowed-host=%s" . | quote }}
{{- end }}
{{- range .Values.connections.allowedHosts }}
- {{ printf "--allowed-connection-host=%s" . | quote }}
{{- end }}
{{- range .Values.sources.allowedHosts }}
- {{ printf "--allowed-source-host=%s" . | quote }}
{{- end }}
{{- if .Values.sources.folder }}
- {{ printf "--source-folder=%s" (include "vectorops.sourceFolder" .) }}
{{- end }}
- {{ printf "--staging-folder=%s" (include "vectorops.stagingFolder" .) }}
- {{ printf "--staging-bytes=%s" (include "vectorops.stagingBytes" .) }}
- {{ printf "--max-unpacked-bytes=%s" .Values.sources.maxUnpackedBytes }}
{{- with .Values.embedding.device }}
- {{ printf "--embedding-device=%s" . | quote }}
{{- end }}
{{- with .Values.embedding.threads }}
- {{ printf "--embedding-threads=%v" . }}
{{- end }}
- {{ printf "--embedding-idle-seconds=%v" .Values.embedding.idleSeconds }}
- {{ printf "--embedding-concurrency=%v" .Values.embedding.concurrency }}
- {{ printf "--embedding-timeout-seconds=%v" .Values.embedding.timeoutSeconds }}
- --health-port=8080
- --metrics-port=8081
- {{ printf "--log-format=%s" .Values.log.format }}
- {{ printf "--log-level=%s" .Values.log.level }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "vectorops.env" -}}
# Who holds the Lease, and who reports events.
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- {name: HF_HOME, value: {{ include "vectorops.modelCache" . }}}
{{- if include "vectorops.caBundle" . }}
- {name: SSL_CERT_FILE, value: {{ include "vectorops.caFolder" . }}/ca.crt}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "vectorops.modelCache" -}} /var/cache/vectorops {{- end }}

{{- define "vectorops.sourceFolder" -}} /srv/vectorops {{- end }}

{{- define "vectorops.stagingFolder" -}} /var/lib/vectorops {{- end }}

{{/* Below the limit of the volume, where the kubelet would evict the pod: 95 %. Sizes have a unit that the schema allows. */}}
{{- define "vectorops.stagingBytes" -}}
{{- $size := .Values.sources.staging.sizeLimit }}
{{- $mebibytes := dict "Mi" 1 "Gi" 1024 "Ti" 1048576 }}
{{- printf "%dMi" (div (mul (regexFind "[0-9]+" $size | int64) (get $mebibytes (regexFind "[A-Z]i" $size)) 95) 100) }}
{{- end }}

{{- define "vectorops.caFolder" -}} /etc/vectorops/ca {{- end }}

{{/* Is there one? Empty: no. */}}
{{- define "vectorops.caBundle" -}}
{{- or .Values.caBundle.configMapName .Values.caBundle.secretName }}
{{- end }}
