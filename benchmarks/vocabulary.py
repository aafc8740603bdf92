"""The words that `records` chooses from: hosts, paths, agents, frames, containers.

Only data. Containers are made once from a fixed seed, because in a real fleet a
container's metadata is the same on each of its lines.
"""

import random
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Container:
    """A container and the metadata Kubernetes has for it."""

    name: str
    docker_id: str
    metadata: dict[str, Any]


HOSTS: Final = ("web-1", "web-2", "api-1", "api-2", "batch-1", "node-a", "node-b")
SERVICES: Final = (
    "orders",
    "payments",
    "inventory",
    "checkout",
    "search-api",
    "user-profile",
    "notification",
    "recommendation",
)
# Repetition is weight: most lines of a healthy fleet are "info".
LEVELS: Final = ("info",) * 7 + ("debug", "debug", "warn", "warning", "error")
METHODS: Final = ("GET",) * 7 + ("POST", "POST", "PUT", "DELETE", "HEAD")
STATUSES: Final = ("200",) * 12 + (
    "201",
    "204",
    "301",
    "304",
    "304",
    "401",
    "404",
    "404",
    "499",
    "500",
    "502",
)
PATHS: Final = (
    "/",
    "/api/v1/orders/{}",
    "/api/v1/orders/{}/items",
    "/api/v2/users/{}/profile",
    "/api/v1/search?q=lamp&page={}",
    "/static/js/app.{}.js",
    "/static/css/main.css",
    "/images/products/{}.webp",
    "/health",
    "/login",
)
REFERERS: Final = (
    "-",
    "-",
    "https://shop.example.com/",
    "https://shop.example.com/category/lighting",
    "https://www.google.com/",
)
AGENTS: Final = (
    "curl/8.7.1",
    "kube-probe/1.31",
    "Go-http-client/2.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like "
        "Gecko) Chrome/131.0.0.0 Safari/537.36"
    ),
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
)
MESSAGES: Final = (
    "request completed",
    "order {} accepted",
    "cache miss for key product:{}",
    "retrying upstream call {} after 250 ms",
    "connection pool has 3 of 20 connections idle",
    'payment {} was "declined" by the provider',
    "주문 {} 접수 완료",
    "job {} finished: 118 rows read, 12 written, 0 skipped",
    "configuration reloaded from C:\\app\\settings.toml",
    "consumer group rebalanced, partition 7 assigned",
)
EXCEPTIONS: Final = (
    (
        "java.lang.NullPointerException: Cannot invoke "
        '"com.example.orders.Order.getItems()" because "order" is null'
    ),
    (
        "java.sql.SQLTransientConnectionException: HikariPool-1 - Connection is not "
        "available, request timed out after 30000ms."
    ),
    (
        "org.springframework.web.client.ResourceAccessException: I/O error on POST "
        'request for "http://payments:8080/charge": Read timed out'
    ),
    "java.util.concurrent.TimeoutException: Did not observe any item within 5000ms",
)
JAVA_FRAMES: Final = (
    "com.example.orders.OrderService.place(OrderService.java:118)",
    "com.example.orders.OrderController.create(OrderController.java:57)",
    "com.example.orders.repository.OrderRepository.save(OrderRepository.java:204)",
    (
        "java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke"
        "(DirectMethodHandleAccessor.java:103)"
    ),
    "java.base/java.lang.reflect.Method.invoke(Method.java:580)",
    (
        "java.base/java.util.concurrent.ThreadPoolExecutor.runWorker"
        "(ThreadPoolExecutor.java:1144)"
    ),
    "java.base/java.lang.Thread.run(Thread.java:1583)",
    (
        "org.springframework.web.method.support.InvocableHandlerMethod.doInvoke"
        "(InvocableHandlerMethod.java:255)"
    ),
    (
        "org.springframework.web.servlet.DispatcherServlet.doDispatch"
        "(DispatcherServlet.java:1088)"
    ),
    (
        "org.apache.catalina.core.ApplicationFilterChain.doFilter"
        "(ApplicationFilterChain.java:138)"
    ),
    "com.zaxxer.hikari.pool.HikariPool.getConnection(HikariPool.java:196)",
)

# Six hosts' worth of pods: enough that metadata is not one constant.
_CONTAINERS_COUNT: Final = 60


def _container(rng: random.Random) -> Container:
    service = rng.choice(SERVICES)
    docker_id = f"{rng.getrandbits(256):064x}"
    suffix = f"{rng.getrandbits(40):010x}-{rng.getrandbits(20):05x}"
    pod_id = f"{rng.getrandbits(128):032x}"
    image = f"registry.example.com/shop/{service}"
    metadata = {
        "pod_name": f"{service}-{suffix}",
        "namespace_name": "production" if rng.random() < 0.8 else "staging",
        "pod_id": "-".join(
            (pod_id[:8], pod_id[8:12], pod_id[12:16], pod_id[16:20], pod_id[20:])
        ),
        "labels": {
            "app.kubernetes.io/name": service,
            "app.kubernetes.io/version": f"2.{rng.randrange(40)}.1",
            "pod-template-hash": suffix[:10],
        },
        "host": f"ip-10-0-{rng.randrange(256)}-{rng.randrange(256)}.ec2.internal",
        "container_name": service,
        "docker_id": docker_id,
        "container_hash": f"{image}@sha256:{rng.getrandbits(256):064x}",
        "container_image": f"{image}:2.{rng.randrange(40)}.1",
    }
    return Container(f"{service}-1", docker_id, metadata)


def _containers() -> tuple[Container, ...]:
    rng = random.Random("containers")
    return tuple(_container(rng) for _ in range(_CONTAINERS_COUNT))


CONTAINERS: Final = _containers()
