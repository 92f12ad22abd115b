"""A search space: a nested dict of domains, grids, computed entries and constants, under flat names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from tuneflow.errors import InvalidArgument, InvalidArgumentType, UnknownName
from tuneflow.space.computed import Computed, Resolver
from tuneflow.space.copies import fresh
from tuneflow.space.domain import Domain, Variable
from tuneflow.space.grid import Grid, cells
from tuneflow.space.points import flatten, values_by_leaf
from tuneflow.space.tree import Branch, Leaf, assign, build, leaves, parse, sort_key

if TYPE_CHECKING:
    import numpy as np
    from optuna.distributions import BaseDistribution

__all__ = ["Space"]

_IMMUTABLE = (type(None), bool, int, float, complex, str, bytes)


class Space:
    """The search space of a study. Immutable; every configuration that it hands out is a fresh one.

    Names are the keys joined by "/", indices of lists included: ``{"layers": [{"units": randint(1, 9)}]}`` has the
    domain ``layers/0/units``. Three forms of a trial's values are converted into each other:

    * the config: the nested dict of natural values, constants and computed entries included;
    * the flat dict of natural values by name;
    * the params: what Optuna stores, by name, for the domains alone (see ``tuneflow.space.domain``).

    Args:
        config: a dict, nested as deep as you like, lists and tuples too. ``{"grid_search": [...]}`` is a grid.

    Raises:
        InvalidArgumentType: ``config`` is no dict.
        InvalidArgument: two entries have the same flat name.

    Example:
        >>> from tuneflow.space import choice, uniform
        >>> space = Space({"optimizer": {"name": choice(["adam", "sgd"]), "lr": uniform(0, 1)}, "epochs": 3})
        >>> space.to_config({"optimizer/name": "sgd", "optimizer/lr": 0.5})
        {'optimizer': {'name': 'sgd', 'lr': 0.5}, 'epochs': 3}
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        if not isinstance(config, Mapping):
            raise InvalidArgumentType(
                f"a search space must be a dict of domains and constants, not {type(config).__name__}"
            )
        root = parse(dict(config))
        self._root = root if isinstance(root, Branch) else Branch(name="", path=(), children={}, make=None)
        if isinstance(root, Leaf) and isinstance(root.item, Variable):
            raise InvalidArgument("a search space must be a dict of named entries; give the grid a name")
        found = list(leaves(self._root))
        self._leaves = {leaf.name: leaf for leaf in found}
        if len(self._leaves) < len(found):
            names = [leaf.name for leaf in found]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InvalidArgument(
                f"two entries of the space have the name {', '.join(map(repr, twice))}: keys are joined by '/', "
                "so one of them must be renamed"
            )
        self.domains: Mapping[str, Domain] = self._items(Domain)
        """The domains by flat name, in the order of the dict."""
        self.grids: Mapping[str, tuple[Any, ...]] = MappingProxyType(
            {name: grid.values for name, grid in self._items(Grid).items()}
        )
        """The values of each grid by flat name, in the order of the dict."""
        self._computed = self._items(Computed)
        self.constants: Mapping[str, Any] = MappingProxyType(
            {
                name: leaf.item
                for name, leaf in self._leaves.items()
                if not isinstance(leaf.item, Domain | Grid | Computed)
            }
        )
        """The constants by flat name."""
        self._fast = self._fast_plan()

    def _items(self, kind: type[Any]) -> Mapping[str, Any]:
        return MappingProxyType({name: leaf.item for name, leaf in self._leaves.items() if isinstance(leaf.item, kind)})

    def _fast_plan(self) -> tuple[dict[Any, Any], list[tuple[Any, str, Callable[[Any], Any]]]] | None:
        """For a flat dict of domains and immutable constants: the config to copy, and what to put into it."""
        template: dict[Any, Any] = {}
        fills: list[tuple[Any, str, Callable[[Any], Any]]] = []
        for key, child in self._root.children.items():
            if isinstance(child, Branch) or isinstance(child.item, Grid | Computed):
                return None
            if isinstance(child.item, Domain):
                template[key] = None
                fills.append((key, child.name, child.item.to_natural))
            elif type(child.item) in _IMMUTABLE:
                template[key] = child.item
            else:
                return None
        return template, fills

    def __reduce__(self) -> tuple[type[Space], tuple[dict[str, Any]]]:
        return Space, (self.definition,)

    def __repr__(self) -> str:
        return f"Space({self.definition!r})"

    @property
    def definition(self) -> dict[str, Any]:
        """The nested dict that defines the space, anew."""
        values = {
            name: leaf.item if isinstance(leaf.item, Variable) else fresh(leaf.item)
            for name, leaf in self._leaves.items()
        }
        return cast(dict[str, Any], build(self._root, values))

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The Optuna distribution of each domain by flat name. Treat as read-only."""
        return {name: domain.distribution() for name, domain in self.domains.items()}

    @property
    def has_grid(self) -> bool:
        """Whether any entry is a grid."""
        return bool(self.grids)

    @property
    def has_computed(self) -> bool:
        """Whether any entry is computed from others (``sample_from``)."""
        return bool(self._computed)

    @cached_property
    def is_exact(self) -> bool:
        """Whether a config can be rebuilt from the params alone, by anybody who knows the constants."""
        return not self.has_grid and not self.has_computed and all(d.is_exact for d in self.domains.values())

    # From params and draws to configurations.

    def to_config(
        self,
        params: Mapping[str, Any],
        *,
        given: Collection[str] | Mapping[str, Any] = frozenset(),
        grid: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
    ) -> dict[str, Any]:
        """The nested configuration of natural values, a fresh one at every call.

        Args:
            params: what Optuna drew, by flat name; names that are not in the space are ignored.
            given: names whose params a user gave: they are taken as they stand, excluded bounds included. As a
                mapping (see ``kept``) it holds their natural values, which then replace the params.
            grid: the values of the grids by flat name.
            rng: draws what ``params`` and ``grid`` lack; without it everything must be there.

        Raises:
            InvalidArgument: a param or a grid value is missing, or a computed entry failed.
            RecursiveDependencyError: computed entries need each other.
        """
        if self._fast is not None and not given:
            template, fills = self._fast
            config = template.copy()
            try:
                for key, name, to_natural in fills:
                    config[key] = to_natural(params[name])
            except KeyError:
                pass  # the long way says which, or draws it
            else:
                return config
        return self._resolve(self._known_values(params, given, grid or {}, rng))

    def _known_values(
        self,
        params: Mapping[str, Any],
        given: Collection[str] | Mapping[str, Any],
        grid: Mapping[str, Any],
        rng: np.random.Generator | None,
    ) -> dict[str, Any]:
        naturals: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        values: dict[str, Any] = {}
        missing: list[str] = []
        for name, leaf in self._leaves.items():
            item = leaf.item
            if isinstance(item, Domain):
                if name in naturals:
                    values[name] = fresh(naturals[name])
                elif name in params:
                    values[name] = item.to_natural(params[name], given=name in given)
                elif rng is not None:
                    values[name] = item.sample(rng)
                else:
                    missing.append(name)
            elif isinstance(item, Grid):
                if name in grid:
                    values[name] = fresh(grid[name])
                elif rng is not None:
                    values[name] = fresh(item.values[int(rng.integers(len(item.values)))])
                else:
                    missing.append(name)
            elif not isinstance(item, Computed):
                values[name] = fresh(item)
            elif name in naturals:
                values[name] = fresh(naturals[name])
        if missing:
            raise InvalidArgument(
                f"no value for {', '.join(missing)}: params must hold every domain and grid every grid of the space, "
                "or rng must be there to draw them"
            )
        return values

    def _resolve(self, values: dict[str, Any]) -> dict[str, Any]:
        if self._computed:
            resolver = Resolver(self._root, values, self._computed)
            for name in self._computed:
                resolver.value(name)
        return cast(dict[str, Any], build(self._root, values))

    def sample(self, rng: np.random.Generator) -> dict[str, Any]:
        """A random configuration; grids are drawn as choices are."""
        return self._resolve(self._known_values({}, (), {}, rng))

    def grid_cells(self, pinned: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The cross product of the grids: one flat dict per cell, the first name in sorted order varying fastest.

        Args:
            pinned: grid values by flat name that hold in every cell.

        Returns:
            One empty dict where the space has no grid.
        """
        pinned = pinned or {}
        names = sorted(self.grids, key=lambda name: sort_key(self._leaves[name].path))
        axes = [(name, (pinned[name],) if name in pinned else self.grids[name]) for name in names]
        return [{name: fresh(cell[name]) for name in names} for cell in cells(axes)]

    # From what a user gives to params.

    def to_params(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The params of the domains that ``config`` names; its grid values are checked and left out.

        Args:
            config: natural values, nested or under flat names ("a/b"), some or all. Computed entries may stand there
                and are passed over (see ``kept``); constants may, with the space's own value.

        Raises:
            UnknownName: an entry that the space does not have.
            InvalidArgument: a value that its domain does not contain, or an entry given twice.
        """
        return self.split_point(config)[0]

    def split_point(self, config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Splits a configuration, whole or partial, into params and grid values. Raises as ``to_params``."""
        given = self._checked(config)
        params = {name: domain.to_param(given[name]) for name, domain in self.domains.items() if name in given}
        return params, {name: given[name] for name in self.grids if name in given}

    def kept(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The natural values of ``config`` that its params cannot carry, by flat name: pass them on as ``given``.

        They are an excluded upper bound, values of a normal distribution too far out or with too many digits, and
        values of computed entries, which are then not computed: all of them such as JSON holds. Mostly there are
        none. Raises as ``to_params``.
        """
        given = self._checked(config)
        leaves = values_by_leaf(config, self._root) if self._computed else {}
        kept = {name: leaves[name] for name in self._computed if name in leaves and _is_json(leaves[name])}
        for name, domain in self.domains.items():
            # A choice restores every option, and its options may refuse to be compared.
            is_number = name in given and isinstance(given[name], int | float)
            if is_number and domain.to_natural(domain.to_param(given[name])) != given[name]:
                kept[name] = given[name]
        return kept

    def _checked(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Flat natural values, in the domains' own types; without constants and computed entries."""
        checked: dict[str, Any] = {}
        for name, value in values_by_leaf(config, self._root).items():
            item = self._leaves[name].item if name in self._leaves else None
            if name not in self._leaves:
                raise UnknownName("entry of the search space", name, list(self._leaves))
            if isinstance(item, Domain | Grid):
                try:
                    checked[name] = item.accept(value)
                except InvalidArgument as error:
                    raise InvalidArgument(f"{name}={value!r}: {error}") from None
            elif not isinstance(item, Computed) and not _same(item, value):
                raise InvalidArgument(
                    f"{name}={value!r}: the space holds the constant {item!r}; put a domain there to vary it"
                )
        return checked

    # Between configurations.

    def flatten(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a configuration by flat name; entries that the space does not have go under their own."""
        return flatten(config, self._root)

    def replace(self, config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of ``config`` with some values changed, and the computed entries that read them computed anew.

        Args:
            config: a whole configuration of this space.
            changes: natural values by flat name, of any entry; a name that is not there is added as an entry.

        Raises:
            InvalidArgument: a name leads through a value that is no dict or list, or a computed entry failed.
        """
        changed: dict[str, Any] = fresh(dict(config))
        for name, value in changes.items():
            path = self._leaves[name].path if name in self._leaves else tuple(name.split("/"))
            changed = assign(changed, path, value)
        if not self._computed:
            return changed
        names = frozenset(changes)
        values = {
            name: value for name, value in self.flatten(changed).items() if name not in self._computed or name in names
        }
        resolver = Resolver(self._root, values, self._computed)
        for name in self._computed:
            if name not in names:
                value = resolver.value(name)
                if resolver.depends_on(name, names):
                    changed = assign(changed, self._leaves[name].path, value)
        return changed

    def tag(self, config: Mapping[str, Any]) -> str:
        """What varies in ``config``, for people: ``bar=True,foo=1``, sorted by name, floats with four digits.

        An entry goes by its last key where no other entry that varies has the same, else by its whole name with "_"
        for "/". Slashes in values become "_" too.
        """
        flat = self.flatten(config)
        varying = [leaf for leaf in self._leaves.values() if isinstance(leaf.item, Variable) and leaf.name in flat]
        varying.sort(key=lambda leaf: sort_key(leaf.path))
        last_keys = [str(leaf.path[-1]) for leaf in varying]
        parts = []
        for leaf, last in zip(varying, last_keys, strict=True):
            is_unique = last_keys.count(last) == 1 and isinstance(leaf.path[-1], str)
            value = flat[leaf.name]
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            parts.append(f"{last if is_unique else leaf.name}={text}".replace("/", "_"))
        return ",".join(parts)


def _is_json(value: Any) -> bool:
    """Whether a value is the same after it was stored as JSON."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or type(value) in (bool, int, float, str)


def _same(constant: Any, value: Any) -> bool:
    if constant is value:
        return True
    try:
        return bool(constant == value)
    except (TypeError, ValueError, RuntimeError):  # arrays and the like say neither yes nor no
        return False
