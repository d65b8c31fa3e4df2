"""What an application does with SQLAlchemy: inspect, migrate, insert in bulk, transact, stream. Prints JSON.

    python sqlalchemy_tour.py PORT DRIVER        pymysql or mysqldb
"""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(80), unique=True)
    born: Mapped[int | None] = mapped_column(sa.SmallInteger, index=True)
    books: Mapped[list[Book]] = relationship(back_populates="author", cascade="all, delete-orphan")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(sa.Text)
    price: Mapped[Decimal] = mapped_column(sa.Numeric(8, 2))
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def introspect(engine: sa.Engine) -> list[Any]:
    look = sa.inspect(engine)
    return [
        sorted(look.get_table_names()),
        [(one["name"], str(one["type"]), one["nullable"]) for one in look.get_columns("books")],
        look.get_pk_constraint("books")["constrained_columns"],
        [(one["referred_table"], one["constrained_columns"]) for one in look.get_foreign_keys("books")],
        sorted((one["name"], one["unique"]) for one in look.get_indexes("authors")),
        look.has_table("books"),
        look.has_table("absent"),
        look.get_view_names(),
    ]


def work(engine: sa.Engine) -> list[Any]:
    found: list[Any] = []
    with Session(engine) as session:
        books = [Book(title="Eins", price=Decimal("9.90")), Book(title="Zwei", price=1)]
        ann = Author(name="Ann", born=1960, books=books)
        session.add_all([ann, Author(name="Bob", born=None)])
        session.commit()
        found.append([ann.id, [book.id for book in ann.books], ann.books[0].price])
    with Session(engine) as session:
        session.add(Author(name="Ann", born=1))
        try:
            session.flush()
        except sa.exc.IntegrityError as error:
            found.append(error.orig.args[0] if error.orig else None)
        session.rollback()
        with session.begin_nested():
            session.add(Author(name="Cid", born=1970))
        nested = session.begin_nested()
        session.add(Author(name="Dan", born=1980))
        session.flush()
        nested.rollback()
        session.commit()
        found.append(session.scalars(sa.select(Author.name).order_by(Author.name)).all())
    with Session(engine) as session:
        query = sa.select(Author.name, sa.func.count(Book.id), sa.func.sum(Book.price)).outerjoin(Book)
        found.append([list(row) for row in session.execute(query.group_by(Author.id).order_by(Author.id))])
        locked = session.scalars(sa.select(Author).where(Author.name == "Bob").with_for_update()).one()
        locked.born = 1955
        session.commit()
        found.append(session.scalar(sa.select(Author.born).where(Author.name == "Bob")))
        session.delete(session.scalars(sa.select(Author).where(Author.name == "Ann")).one())
        session.commit()
        found.append(session.scalar(sa.select(sa.func.count()).select_from(Book)))
    return found


def bulk_and_stream(engine: sa.Engine) -> list[Any]:
    rows = [{"name": f"author {number:05}", "born": number % 3000} for number in range(5000)]
    with engine.begin() as connection:
        result = connection.execute(sa.insert(Author), rows)
        counted = result.rowcount
    with engine.connect().execution_options(stream_results=True, yield_per=500) as connection:
        total = sum(born for (born,) in connection.execute(sa.select(Author.born).where(Author.name.like("author %"))))
    return [counted, total]


def migrate(engine: sa.Engine) -> list[Any]:
    with engine.begin() as connection:
        added = "ADD COLUMN pages INT NOT NULL DEFAULT 1, ADD INDEX by_pages (pages)"
        connection.execute(sa.text(f"ALTER TABLE books {added}"))
    names = [one["name"] for one in sa.inspect(engine).get_columns("books")]
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        level = connection.get_isolation_level()
    Base.metadata.drop_all(engine)
    return [names, level, sa.inspect(engine).get_table_names()]


def main(port: str, driver: str) -> None:
    url = f"mysql+{driver}://demo:demo@127.0.0.1:{port}/plain?charset=utf8mb4"
    engine = sa.create_engine(url, pool_size=2, pool_recycle=60, pool_pre_ping=True)
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    steps = {step.__name__: step(engine) for step in (introspect, work, bulk_and_stream, migrate)}
    print(json.dumps({"dialect": engine.dialect.name, "maria": engine.dialect.is_mariadb, **steps}, default=str))


main(*sys.argv[1:3])
