{{/* What a pod asks for: its annotations, and the defaults of the values. Variables of all policies. */}}
{{- define "vestibule-injector.settings" -}}
{{- $known := list "inject" "port" "protocol" "listen-port" "admin-port" "store" "users" "keys" "certificate" "config" "service-account" "instance" "cpu-request" "cpu-limit" "memory-request" "memory-limit" }}
- name: set
  expression: object.metadata.?annotations.orValue({})
- name: asked
  expression: variables.set[?'vestibule.dev/inject'].orValue('') == 'true'
# What is wrong whatever the pod is.
- name: mistakes
  expression: |-
    variables.set.filter(k, k.startsWith('vestibule.dev/') && !(k.substring(14) in ['{{ join "', '" $known }}']))
      .map(k, 'annotation ' + k + ' is not known: there are vestibule.dev/{{ join ", " $known }}')
    + (!(variables.set[?'vestibule.dev/inject'].orValue('true') in ['true', 'false'])
      ? ['annotation vestibule.dev/inject is neither "true" nor "false": write one of them, in quotes'] : [])
    + (!('vestibule.dev/inject' in variables.set) && variables.set.exists(k, k.startsWith('vestibule.dev/'))
      ? ['annotation vestibule.dev/inject is missing beside others of vestibule.dev: set it to "true", or to "false" for a pod without the sidecar'] : [])
    + variables.set.filter(k, k.startsWith('vestibule.dev/') && size(variables.set[k]) > 2048)
      .map(k, 'annotation ' + k + ' is longer than 2048 characters: shorten it')
    + ('vestibule.dev/inject' in object.metadata.?labels.orValue({})
      ? ['vestibule.dev/inject is a label here, which does nothing: make it an annotation of the pod template'] : [])
- name: port
  expression: variables.set[?'vestibule.dev/port'].orValue('{{ .Values.defaults.port }}')
- name: byNumber
  expression: variables.port.matches('^[0-9]+$')
- name: number
  expression: "variables.port.matches('^[1-9][0-9]{0,4}$') ? int(variables.port) : 0"
- name: protocol
  expression: variables.set[?'vestibule.dev/protocol'].orValue('{{ .Values.defaults.protocol }}')
{{- range $name, $default := dict "listen" .Values.defaults.listenPort "admin" .Values.defaults.adminPort }}
- name: {{ $name }}
  expression: |-
    variables.set[?'vestibule.dev/{{ $name }}-port'].orValue('{{ int $default }}').matches('^[1-9][0-9]{3,4}$')
      ? int(variables.set[?'vestibule.dev/{{ $name }}-port'].orValue('{{ int $default }}')) : 0
{{- end }}
- name: store
  expression: variables.set[?'vestibule.dev/store'].orValue('{{ .Values.defaults.store }}')
# What charts/vestibule has named its objects after.
- name: instance
  expression: variables.set[?'vestibule.dev/instance'].orValue('')
{{- range $kind := list "users" "keys" "certificate" }}
- name: {{ eq $kind "users" | ternary "userlist" $kind }}
  expression: |-
    variables.set[?'vestibule.dev/{{ $kind }}'].orValue(variables.instance == '' ? '{{ get $.Values.defaults $kind }}' : variables.instance + '-{{ eq $kind "certificate" | ternary "tls" $kind }}')
{{- end }}
- name: users
  expression: variables.userlist.split(',')
- name: config
  expression: variables.set[?'vestibule.dev/config'].orValue(variables.instance)
- name: account
  expression: "variables.set[?'vestibule.dev/service-account'].orValue(variables.store == 'mounted' ? '' : variables.instance)"
{{- range list (list "cpuRequest" "cpu-request" .Values.resources.requests.cpu) (list "cpuLimit" "cpu-limit" .Values.resources.limits.cpu) (list "memoryRequest" "memory-request" .Values.resources.requests.memory) (list "memoryLimit" "memory-limit" .Values.resources.limits.memory) }}
- name: {{ index . 0 }}
  expression: variables.set[?'vestibule.dev/{{ index . 1 }}'].orValue('{{ index . 2 }}')
{{- end }}
# What is wrong with the values of the annotations.
- name: misfits
  expression: |-
    [
      variables.byNumber ? (variables.number < 1 || variables.number > 65535
          ? 'annotation vestibule.dev/port is no port: give a number from 1 to 65535, or the name of a container port' : '')
        : (size(variables.port) > 15 || !variables.port.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')
          ? 'annotation vestibule.dev/port is no name of a port: give the name of a container port (at most 15 of a-z, 0-9 and -), or its number' : ''),
      !(variables.protocol in ['http', 'h2c']) ? 'annotation vestibule.dev/protocol is not known: write "http" or "h2c"' : '',
      {{- range list "listen" "admin" }}
      variables.{{ . }} < 1024 || variables.{{ . }} > 65535 ? 'annotation vestibule.dev/{{ . }}-port is out of range: give a number from 1024 to 65535' : '',
      {{- end }}
      variables.listen == variables.admin ? 'the sidecar listens on one port for everything: give vestibule.dev/listen-port and vestibule.dev/admin-port two numbers' : '',
      !(variables.store in ['kubernetes', 'mounted']) ? 'annotation vestibule.dev/store is not known: write "kubernetes" or "mounted"' : '',
      size(variables.users) > 8 || variables.users.exists(u, !variables.users.exists_one(o, o == u)) || variables.users.exists(u, size(u) > 253 || !u.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))
        ? 'annotation vestibule.dev/users names no Secrets: give one name, or up to 8 different ones with commas between' : '',
      {{- range list (list "keys" "keys" "Secret") (list "certificate" "certificate" "Secret") (list "config" "config" "ConfigMap") (list "account" "service-account" "service account") (list "instance" "instance" "release of the chart vestibule") }}
      ('vestibule.dev/{{ index . 1 }}' in variables.set) && (size(variables.{{ index . 0 }}) > 253 || !variables.{{ index . 0 }}.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))
        ? 'annotation vestibule.dev/{{ index . 1 }} is no name of a {{ index . 2 }}: give one of the pod\'s namespace' : '',
      {{- end }}
      variables.store == 'mounted' && size(variables.users) > 1 ? 'only one Secret of users can be mounted: name one in vestibule.dev/users, or set vestibule.dev/store to "kubernetes"' : '',
      variables.keys in variables.users ? 'users and keys are the same Secret: give vestibule.dev/users and vestibule.dev/keys two names' : '',
      variables.certificate in variables.users + [variables.keys] ? 'the certificate is in the Secret of the users or keys: give vestibule.dev/certificate another name' : '',
      variables.store == 'mounted' && 'vestibule.dev/service-account' in variables.set ? 'annotation vestibule.dev/service-account has no use where vestibule.dev/store is "mounted": leave it out' : '',
      !variables.cpuRequest.matches('^([1-9][0-9]{0,5}m|[1-9][0-9]?)$') || quantity(variables.cpuRequest).compareTo(quantity('64')) > 0
        ? 'annotation vestibule.dev/cpu-request is out of range: give 1m to 64' : '',
      variables.cpuLimit != '' && (!variables.cpuLimit.matches('^([1-9][0-9]{0,5}m|[1-9][0-9]?)$') || quantity(variables.cpuLimit).compareTo(quantity('10m')) < 0 || quantity(variables.cpuLimit).compareTo(quantity('64')) > 0)
        ? 'annotation vestibule.dev/cpu-limit is out of range: give 10m to 64' : '',
      !variables.memoryRequest.matches('^[1-9][0-9]{0,5}(Mi|Gi)$') || quantity(variables.memoryRequest).compareTo(quantity('64Gi')) > 0
        ? 'annotation vestibule.dev/memory-request is out of range: give 1Mi to 64Gi' : '',
      !variables.memoryLimit.matches('^[1-9][0-9]{0,5}(Mi|Gi)$') || quantity(variables.memoryLimit).compareTo(quantity('64Mi')) < 0 || quantity(variables.memoryLimit).compareTo(quantity('64Gi')) > 0
        ? 'annotation vestibule.dev/memory-limit is out of range: give 64Mi to 64Gi' : ''
    ].filter(m, m != '')
# Only where nothing is wrong with the values themselves.
- name: shares
  expression: |-
    size(variables.misfits) > 0 ? [] : [
      variables.cpuLimit != '' && quantity(variables.cpuRequest).compareTo(quantity(variables.cpuLimit)) > 0
        ? 'the sidecar\'s CPU request is over its limit: change vestibule.dev/cpu-request or vestibule.dev/cpu-limit' : '',
      quantity(variables.memoryRequest).compareTo(quantity(variables.memoryLimit)) > 0
        ? 'the sidecar\'s memory request is over its limit: change vestibule.dev/memory-request or vestibule.dev/memory-limit' : ''
    ].filter(m, m != '')
{{- end }}
