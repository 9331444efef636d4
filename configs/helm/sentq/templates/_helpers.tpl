{{/* The name of what belongs to this release: `sentq`, or that of the release with `sentq` in it. */}}
{{- define "sentq.name" -}}
{{- if contains "sentq" .Release.Name }}{{ .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}{{ printf "%s-sentq" (.Release.Name | trunc 39 | trimSuffix "-") }}{{ end }}
{{- end }}

{{/* The labels by which a part's pods are selected. Takes (list $ "worker"). */}}
{{- define "sentq.selector" -}}
app.kubernetes.io/name: sentq
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The labels of an object. Takes (list $ "worker"). */}}
{{- define "sentq.labels" -}}
{{ include "sentq.selector" . }}
app.kubernetes.io/part-of: sentq
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
{{- end }}

{{/* Name and labels of an object. Takes (list $ "worker"). */}}
{{- define "sentq.metadata" -}}
name: {{ include "sentq.name" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "sentq.labels" . | nindent 2 }}
{{- end }}

{{/* An image. Takes (list $ .Values.image.worker). */}}
{{- define "sentq.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What all pods of sentq have. Without enableServiceLinks: a service called sentq-gateway would set the
     variable SENTQ_GATEWAY_PORT, which is a setting. */}}
{{- define "sentq.pod" -}}
serviceAccountName: {{ include "sentq.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  # Files of Secrets belong to it.
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "sentq.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* A value as a variable of the environment has it: lists with commas, tables as JSON. */}}
{{- define "sentq.variable" -}}
{{- if kindIs "string" . }}{{ . }}
{{- else if kindIs "slice" . }}{{ if . }}{{ join "," . }}{{ else }},{{ end }}
{{- else }}{{ toJson . }}{{ end }}
{{- end }}

{{/* Variables for settings. Takes (list "SENTQ_WORKER_" .Values.worker.settings). */}}
{{- define "sentq.settings" -}}
{{- $prefix := index . 0 -}}
{{- range $key, $value := index . 1 }}
- name: {{ $prefix }}{{ upper $key }}
  value: {{ include "sentq.variable" $value | quote }}
{{- end }}
{{- end }}

{{/* Where Redis is, and the password of a user. Takes (list $ "worker"). */}}
{{- define "sentq.redis" -}}
{{- $root := index . 0 -}}
{{- $user := index . 1 -}}
{{- with $root.Values.redis -}}
- name: SENTQ_BROKER_URL
  value: {{ ternary "rediss" "redis" .tls.enabled }}://{{ $user }}@{{ include "sentq.redisHost" $root }}:{{ .port }}/{{ .database }}
- name: SENTQ_REDIS_PASSWORD_FILE
  value: /run/secrets/sentq/redis/{{ $user }}-password
{{- if .tls.caSecret }}
- name: SENTQ_TLS_CA_FILE
  value: /run/secrets/sentq/tls/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{- define "sentq.redisHost" -}}
{{- if .Values.redis.deploy }}{{ include "sentq.name" . }}-redis
{{- else }}{{ required "redis.host: name your Redis, or set redis.deploy=true" .Values.redis.host }}{{ end }}
{{- end }}

{{/* Mounts of a container: one password, and what else the program reads. Takes (list $ "worker"). */}}
{{- define "sentq.mounts" -}}
- name: tmp
  mountPath: /tmp
- name: {{ index . 1 }}-password
  mountPath: /run/secrets/sentq/redis
  readOnly: true
{{- if (index . 0).Values.redis.tls.caSecret }}
- name: redis-ca
  mountPath: /run/secrets/sentq/tls
  readOnly: true
{{- end }}
{{- end }}

{{/* The volumes of these mounts. */}}
{{- define "sentq.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 256Mi
{{ include "sentq.passwordVolume" . }}
{{- with (index . 0).Values.redis.tls.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "sentq.passwordVolume" -}}
- name: {{ index . 1 }}-password
  secret:
    secretName: {{ (index . 0).Values.redis.passwordSecret }}
    defaultMode: 0440
    items:
      - key: {{ index . 1 }}-password
        path: {{ index . 1 }}-password
{{- end }}

{{/* Egress of all programs: names, and Redis. */}}
{{- define "sentq.egress" -}}
- to:
    {{- toYaml .Values.networkPolicy.dnsPeers | nindent 4 }}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
- to:
    {{- if .Values.redis.deploy }}
    - podSelector:
        matchLabels:
          {{- include "sentq.selector" (list . "redis") | nindent 10 }}
    {{- else if .Values.networkPolicy.redisPeers }}
    {{- toYaml .Values.networkPolicy.redisPeers | nindent 4 }}
    {{- else }}
    {{- fail "networkPolicy.redisPeers: say where Redis is, such as [{ipBlock: {cidr: 10.1.2.3/32}}], or set networkPolicy.enabled=false" }}
    {{- end }}
  ports:
    - {protocol: TCP, port: {{ ternary 6379 .Values.redis.port .Values.redis.deploy }}}
{{- end }}

{{- define "sentq.internet" -}}
- to:
    {{- toYaml .Values.networkPolicy.internetPeers | nindent 4 }}
  ports:
    - {protocol: TCP, port: 443}
{{- end }}
