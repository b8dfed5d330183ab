"""The plugin: the interfaces of CKAN that it implements."""

from __future__ import annotations

from typing import Any

import ckan.plugins as p
import ckan.plugins.toolkit as tk
from ckan.lib.plugins import DefaultTranslation
from ckanext.metastore import actions, auth, cli, committing, editing, files, outbox, portal, settings, views


class MetastorePlugin(p.SingletonPlugin, DefaultTranslation):
    """Every change of a dataset becomes a revision in MetaStore."""

    p.implements(p.IConfigDeclaration)
    p.implements(p.IConfigurable)
    p.implements(p.IConfigurer)
    p.implements(p.IPackageController, inherit=True)
    p.implements(p.IActions)
    p.implements(p.IAuthFunctions)
    p.implements(p.IBlueprint)
    p.implements(p.IClick)
    p.implements(p.ITemplateHelpers)
    p.implements(p.ITranslation)

    def declare_config_options(self, declaration: Any, key: Any) -> None:
        settings.declare(declaration, key)

    def configure(self, config: Any) -> None:
        settings.forget_stores()
        outbox.listen()
        committing.listen()
        settings.check_at_start()

    def update_config(self, config: Any) -> None:
        tk.add_template_directory(config, "templates")

    def after_dataset_create(self, context: Any, pkg_dict: dict[str, Any]) -> None:
        portal.record(pkg_dict["id"], context, "Create dataset")

    def after_dataset_update(self, context: Any, pkg_dict: dict[str, Any]) -> None:
        portal.record(pkg_dict["id"], context, "Update dataset")

    def after_dataset_delete(self, context: Any, pkg_dict: dict[str, Any]) -> None:
        portal.record(pkg_dict["id"], context, "Delete dataset", state="deleted")

    def get_actions(self) -> dict[str, Any]:
        return actions.ACTIONS

    def get_auth_functions(self) -> dict[str, Any]:
        return auth.FUNCTIONS

    def get_blueprint(self) -> Any:
        return views.blueprint

    def get_commands(self) -> list[Any]:
        return [cli.metastore]

    def get_helpers(self) -> dict[str, Any]:
        return {"metastore_seen": editing.shown_in_form}


class MetastoreFilesPlugin(p.SingletonPlugin):
    """Each uploaded file is kept, so that older versions have their own files."""

    p.implements(p.IUploader, inherit=True)

    def get_resource_uploader(self, data_dict: dict[str, Any]) -> files.KeepingUpload:
        return files.KeepingUpload(data_dict)
