{{/* What marks every object. */}}
{{- define "trunkline.labels" -}}
app.kubernetes.io/name: trunkline
app.kubernetes.io/part-of: trunkline
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What chooses the pods of a program: (bus, state). */}}
{{- define "trunkline.pods" -}}
app.kubernetes.io/name: trunkline
app.kubernetes.io/part-of: trunkline
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* The variables of a program, as YAML: those of kustomize's base or overlay, then yours. Takes the root and its name. */}}
{{- define "trunkline.settings" -}}
{{- $root := .root }}
{{- $settings := dict }}
{{- range $root.Files.Lines (printf "files/%s%s.env" .program (ternary "-insecure" "" $root.Values.insecure)) }}
{{- if regexMatch "^[A-Z]" . }}
{{- $parts := splitn "=" 2 . }}
{{- $_ := set $settings $parts._0 $parts._1 }}
{{- end }}
{{- end }}
{{- if eq $root.Values.storage "redis" }}
{{- $_ := set $settings (printf "TRUNKLINE_%s_ENGINE" (upper .program)) "redis" }}
{{- end }}
{{- toYaml (merge (deepCopy (index $root.Values .program).settings) $settings) }}
{{- end }}

{{/* Refuses a grace period in which a program cannot drain and, within 5 s more, end. Takes its name, settings and grace. */}}
{{- define "trunkline.grace" -}}
{{- $prefix := printf "TRUNKLINE_%s" (upper .program) }}
{{- $unready := get .settings (printf "%s_UNREADY_SECONDS" $prefix) | default "0" }}
{{- $drain := get .settings (printf "%s_DRAIN_SECONDS" $prefix) | default "5" }}
{{- $needed := addf (float64 $unready) (float64 $drain) 5.0 }}
{{- if lt (float64 .grace) $needed }}
{{- fail (printf "%s.terminationGracePeriodSeconds is %v: with UNREADY_SECONDS=%s and DRAIN_SECONDS=%s it must be %v or more, or the %s is killed while it drains" .program .grace $unready $drain $needed .program) }}
{{- end }}
{{- end }}

{{/* The objects of a file of kustomize's, in this namespace and marked as ours. Takes the root and the file's name. */}}
{{- define "trunkline.file" -}}
{{- $root := .root }}
{{- range splitList "\n---\n" ($root.Files.Get (printf "files/%s" .file)) }}
{{- $object := fromYaml . }}
{{- $labels := merge (include "trunkline.labels" $root | fromYaml) ($object.metadata.labels | default dict) }}
{{- $_ := set $object "metadata" (merge (dict "namespace" $root.Release.Namespace "labels" $labels) $object.metadata) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
