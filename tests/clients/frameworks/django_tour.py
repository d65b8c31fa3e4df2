"""What an application does with Django's ORM: migrate, inspect, create, transact, insert in bulk, iterate. Prints JSON.

    python django_tour.py PORT
"""

from __future__ import annotations

import json
import sys
from typing import Any

import django
from django.conf import settings
from django.db import IntegrityError, connection, models, transaction

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "plain",
            "USER": "demo",
            "PASSWORD": "demo",
            "HOST": "127.0.0.1",
            "PORT": sys.argv[1],
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.contrib.auth.models import Group, Permission, User  # noqa: E402
from django.core.management import call_command  # noqa: E402


def migrations() -> list[Any]:
    call_command("migrate", verbosity=0, interactive=False)
    with connection.cursor() as cursor:
        look = connection.introspection
        tables = sorted(one.name for one in look.get_table_list(cursor))
        described = look.get_table_description(cursor, "auth_user")
        columns = [(one.name, one.internal_size, one.null_ok) for one in described]
        relations = {name: list(to) for name, to in look.get_relations(cursor, "auth_permission").items()}
        keys = look.get_constraints(cursor, "auth_permission")
    kinds = sorted((one["columns"], one["primary_key"], one["unique"], one["index"]) for one in keys.values())
    return [tables, columns, relations, kinds, Permission.objects.count()]


def work() -> list[Any]:
    found: list[Any] = []
    ann = User.objects.create_user("ann", "ann@example.org", "secret")
    group = Group.objects.create(name="writers")
    ann.groups.add(group)
    try:
        with transaction.atomic():
            Group.objects.create(name="writers")
    except IntegrityError as error:
        found.append(error.args[0])
    with transaction.atomic():
        Group.objects.create(name="readers")
        try:
            with transaction.atomic():
                Group.objects.create(name="gone")
                raise LookupError
        except LookupError:
            pass
    found.append(list(Group.objects.order_by("name").values_list("name", flat=True)))
    with transaction.atomic():
        locked = User.objects.select_for_update().get(username="ann")
        locked.first_name = "Ann"
        locked.save()
    found.append(list(User.objects.filter(groups__name="writers", first_name__iexact="ANN").values_list("email")))
    counted = Group.objects.annotate(users=models.Count("user")).order_by("name")
    found.append([(one.name, one.users) for one in counted])
    found.append(Group.objects.update_or_create(name="readers", defaults={"name": "lesers"})[1])
    return found


def bulk_and_iterate() -> list[Any]:
    Group.objects.bulk_create([Group(name=f"group {number:05}") for number in range(3000)], batch_size=1000)
    names = sum(len(one.name) for one in Group.objects.filter(name__startswith="group").iterator(chunk_size=500))
    deleted = Group.objects.filter(name__startswith="group").delete()[0]
    return [names, deleted, Group.objects.bulk_create([Group(name="writers")], ignore_conflicts=True)[0].name]


def undo() -> list[Any]:
    call_command("migrate", "auth", "zero", verbosity=0, interactive=False)
    call_command("migrate", "contenttypes", "zero", verbosity=0, interactive=False)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_migrations")
        return [one.name for one in connection.introspection.get_table_list(cursor)]


steps = {step.__name__: step() for step in (migrations, work, bulk_and_iterate, undo)}
print(json.dumps({"maria": connection.mysql_is_mariadb, **steps}, default=str))
