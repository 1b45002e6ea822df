################################################################################
#
# runnel
#
################################################################################

RUNNEL_VERSION = 0.1.0
# Made by `boards/package source`, with the sources of all crates in it.
RUNNEL_SOURCE = runnel-$(RUNNEL_VERSION).tar.gz
RUNNEL_SITE = $(BR2_EXTERNAL_RUNNEL_PATH)/../target/packages
RUNNEL_SITE_METHOD = file
RUNNEL_LICENSE = MIT
RUNNEL_LICENSE_FILES = LICENSE

# Each option BR2_PACKAGE_RUNNEL_FEATURE_X_Y is the cargo feature x-y.
RUNNEL_FEATURE_OPTIONS = $(filter BR2_PACKAGE_RUNNEL_FEATURE_%,$(.VARIABLES))
RUNNEL_FEATURES = \
	$(foreach option,$(RUNNEL_FEATURE_OPTIONS),\
		$(if $(filter y,$($(option))),\
			$(subst _,-,$(call LOWERCASE,\
				$(patsubst BR2_PACKAGE_RUNNEL_FEATURE_%,%,$(option))))))

# Buildroot sets the profile by itself unless these come later: without them
# there is no optimization across crates.
RUNNEL_CARGO_ENV = \
	BOARD=$(call qstrip,$(BR2_PACKAGE_RUNNEL_BOARD)) \
	CARGO_PROFILE_RELEASE_OPT_LEVEL="z" \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS="1" \
	CARGO_PROFILE_RELEASE_LTO="fat"
RUNNEL_CARGO_OPTS = \
	--no-default-features --features "$(strip $(RUNNEL_FEATURES))"
RUNNEL_CARGO_BUILD_OPTS = $(RUNNEL_CARGO_OPTS)
RUNNEL_CARGO_INSTALL_OPTS = $(RUNNEL_CARGO_OPTS)

define RUNNEL_USERS
	runnel -1 runnel -1 * /var/lib/runnel - - Live-streaming server
endef

define RUNNEL_PERMISSIONS
	/var/lib/runnel d 0755 runnel runnel - - - - -
endef

# S80runnel starts it in the background, where its standard error is /dev/null:
# the log goes to syslogd.
define RUNNEL_INSTALL_CONF
	$(INSTALL) -D -m 0644 $(@D)/conf/board.conf \
		$(TARGET_DIR)/etc/runnel.conf
	$(SED) 's/^srs_log_tank console;/srs_log_tank syslog;/' \
		-e 's/log goes to standard error/log goes to syslogd/' \
		$(TARGET_DIR)/etc/runnel.conf
	$(INSTALL) -d -m 0755 $(TARGET_DIR)/var/lib/runnel
endef
RUNNEL_POST_INSTALL_TARGET_HOOKS += RUNNEL_INSTALL_CONF

define RUNNEL_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(RUNNEL_PKGDIR)/S80runnel \
		$(TARGET_DIR)/etc/init.d/S80runnel
endef

$(eval $(cargo-package))
