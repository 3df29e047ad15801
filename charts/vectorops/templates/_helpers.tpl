{{- define "vectorops.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all that is made once per release. */}}
{{- define "vectorops.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "vectorops.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "vectorops.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "vectorops.metricsName" -}}
{{- printf "%s-metrics" (include "vectorops.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end }}

{{- define "vectorops.dashboardName" -}}
{{- printf "%s-dashboard" (include "vectorops.fullname" . | trunc 53 | trimSuffix "-") }}
{{- end }}

{{/* Of objects without a namespace: two releases of one name may live in two namespaces. */}}
{{- define "vectorops.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "vectorops.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "vectorops.selectorLabels" -}}
app.kubernetes.io/name: {{ include "vectorops.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels that no value may change. */}}
{{- define "vectorops.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "vectorops.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: vectorops
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "vectorops.labels" -}}
{{ include "vectorops.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels of an object that has some of its own, which win: (list . $labels). */}}
{{- define "vectorops.labelsWith" -}}
{{ merge dict (default dict (index . 1)) (include "vectorops.labels" (index . 0) | fromYaml) | toYaml }}
{{- end }}

{{- define "vectorops.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "vectorops.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name: which service account, if the chart makes none?" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "vectorops.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}
