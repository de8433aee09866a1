{{/* Name of everything that belongs to the operator. */}}
{{- define "coppice.operator" -}}
{{- printf "%s-operator" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What the operator's pods are found by; never changes. */}}
{{- define "coppice.selector" -}}
app.kubernetes.io/name: coppice-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "coppice.labels" -}}
{{ include "coppice.selector" . }}
app.kubernetes.io/part-of: coppice
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image of this release: include "coppice.image" (list . "operator") */}}
{{- define "coppice.image" -}}
{{- $top := index . 0 -}}
{{- printf "%s/coppice-%s:%s" $top.Values.image.registry (index . 1) ($top.Values.image.tag | default $top.Chart.AppVersion) -}}
{{- end -}}
