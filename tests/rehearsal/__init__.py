"""A rehearsal of scaling without a cluster.

The rules of KEDA and of the HorizontalPodAutoscaler decide over real workers, each in a network
namespace of its own, from the manifests that are shipped.

    load ─▶ Redis ◀─ workers (namespaces) ◀─ Deployment ◀─ Autoscaler (rules, activation)
              └──── exporter /v1/scale, or LLEN ───────────────┘
"""
